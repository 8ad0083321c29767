"""What a program has, read off its tree; a table of how often each feature and each pair occurs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations

from tests.drawn.language import (
    Affine,
    Apply,
    Divide,
    Equation,
    Expr,
    Index,
    Multiply,
    N,
    Positive,
    Power,
    Program,
    Read,
    Reduce,
    Same,
    Within,
    free,
    moved,
    parts,
    places,
    put,
    reads,
    walk,
)
from tests.drawn.tensors import OURS

FUNCTIONS = (
    "exp", "expm1", "log", "sigmoid", "tanh", "softplus", "erfc", "step", "relu", "sign", "abs", "max", "min",
)  # fmt: skip
FEATURES = (
    "several equations", "three or four equations", "three or four indices", "sum", "mean", "maximum",
    "maximum over several indices", "log-sum-exp", "nested reductions", "product of sums", "rational power", "division",
    *FUNCTIONS, "[i == j]", "[v == id]", "[0 <= i < e]", "[x > 0]", "pad 0", "pad with a number", "pad -inf", "stride",
    "dilation", "reversed", "mixed radix on the left", "pieces", "several reads of one tensor", "read by two equations",
    "diagonal", "body lacks an index", "hidden index", "names with numbers", "names like ours", "second sample index",
    "parameter", "state", "random", "integer input", "several id columns", "several inputs", "argmax", "a value twice",
    "two maxima of one tensor",
)  # fmt: skip


def features(program: Program) -> frozenset[str]:
    return frozenset(_of_program(program))


def _of_program(program: Program) -> Iterator[str]:
    equations = program.equations
    defined = {e.name for e in equations}
    if len(defined) > 1:
        yield "several equations"
    if len(defined) > 2:
        yield "three or four equations"
    if len(defined) < len(equations):
        yield "pieces"
    for e in equations:
        yield from _of_equation(e)
    values = [_without_indices(e.value) for e in equations]
    found = ((k, n) for k, e in enumerate(equations) for n in walk(e.value) if not isinstance(n, Read))
    if any(_without_indices(n) in values[:k] for k, n in found):
        yield "a value twice"
    kinds = Counter(g.kind for g in program.given)
    yield from (name for name in ("parameter", "state", "random") if kinds[name])
    if kinds["id"]:
        yield "integer input"
    if any(len(g.tops) > 1 for g in program.given):
        yield "several id columns"
    if kinds["input"] + kinds["id"] > 1:
        yield "several inputs"
    readers = Counter(name for e in {e.name: e for e in equations}.values() for name in e.names)
    if any(count > 1 for count in readers.values()):
        yield "read by two equations"
    names = {g.name for g in program.given} | defined
    indices = {i.name for e in equations for i in _indices(e)}
    if any(re.fullmatch(r"[^\W\d]+_?\d+", name) for name in (names | indices) - {"x1", "x2", "x3"}):
        yield "names with numbers"
    if any(name in OURS or "." in name or name.endswith("_next") for name in names):
        yield "names like ours"


def _without_indices(node: Expr) -> Expr:
    """The value wherever it is read: at any indices, padded or not."""
    node = moved(node, dict.fromkeys(free(node), Index("", 1)))
    for path, read in [*places(node)]:
        if isinstance(read, Read) and read.pad is not None:
            node = put(node, path, replace(read, pad=None))
    return node


def _indices(e: Equation) -> Iterator[Index]:
    yield from e.indices
    for node in walk(e.value):
        if isinstance(node, Reduce):
            yield from node.indices


def _of_equation(e: Equation) -> Iterator[str]:
    bound = {i for node in walk(e.value) if isinstance(node, Reduce) for i in node.indices}
    if len({*e.indices, *bound}) > 2:
        yield "three or four indices"
    if any(len(s.terms) > 1 for s in e.subscripts):
        yield "mixed radix on the left"
    if sum(i.extent == N for i in {*e.indices, *bound}) > 1:
        yield "second sample index"
    by_tensor: dict[str, set[tuple[Affine, ...]]] = {}
    for r in reads(e.value):
        by_tensor.setdefault(r.name, set()).add(r.subscripts)
    if any(len(found) > 1 for found in by_tensor.values()):
        yield "several reads of one tensor"
    maxima = {node.body for node in walk(e.value) if isinstance(node, Reduce) and node.kind == "max"}
    if any(count > 1 for count in Counter(name for body in maxima for name in {r.name for r in reads(body)}).values()):
        yield "two maxima of one tensor"
    yield from _of(e.value, frozenset(i.name for i in e.indices), bound)


def _of(node: Expr, scope: frozenset[str], bound: set[Index]) -> Iterator[str]:
    match node:
        case Reduce(kind, indices, body):
            yield {"sum": "sum", "mean": "mean", "max": "maximum", "logsumexp": "log-sum-exp", "argmax": "argmax"}[kind]
            if kind == "max" and len(indices) > 1:
                yield "maximum over several indices"
            if any(isinstance(inner, Reduce) for inner in walk(body)):
                yield "nested reductions"
            if not set(indices) <= free(body):
                yield "body lacks an index"
            if scope & {i.name for i in indices}:
                yield "hidden index"
            scope |= {i.name for i in indices}
        case Multiply(factors) if sum(any(_sums(n) for n in walk(f)) for f in factors) > 1:
            yield "product of sums"
        case Power(base, exponent):
            if exponent.denominator > 1:
                yield "rational power"
            if exponent.denominator == 1 and exponent > 1 and any(_sums(n) for n in walk(base)):
                yield "product of sums"
            if exponent < 0:
                yield "division"
        case Divide():
            yield "division"
        case Apply(function, _):
            yield function
        case Same(_, right):
            yield "[v == id]" if isinstance(right, Read) else "[i == j]"
        case Within():
            yield "[0 <= i < e]"
        case Positive():
            yield "[x > 0]"
        case Read(_, subscripts, pad):
            if pad is not None:
                yield "pad -inf" if pad == "-inf" else "pad 0" if pad == 0 else "pad with a number"
            for s in subscripts:
                if any(abs(c) > 1 and i not in bound for i, c in s.terms):
                    yield "stride"
                if any(abs(c) > 1 and i in bound for i, c in s.terms) and len(s.terms) > 1:
                    yield "dilation"
                if any(c < 0 for _, c in s.terms):
                    yield "reversed"
            plain = [s.plain for s in subscripts if s.plain]
            if len(set(plain)) < len(plain):
                yield "diagonal"
        case _:
            pass
    for part in parts(node):
        yield from _of(part, scope, bound)


def _sums(node: Expr) -> bool:
    return isinstance(node, Reduce) and node.kind in ("sum", "mean")


def frequencies(programs: Iterable[Program]) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """The share of the programs that have each feature, and each pair."""
    single, pairs, count = Counter[str](), Counter[tuple[str, str]](), 0
    for program in programs:
        own = features(program)
        found = [f for f in FEATURES if f in own]
        single.update(found)
        pairs.update(combinations(found, 2))
        count += 1
    return {f: single[f] / count for f in FEATURES}, {p: pairs[p] / count for p in combinations(FEATURES, 2)}


def table(programs: Iterable[Program]) -> str:
    """Each feature with how often it occurs, and the pairs that occur least."""
    single, pairs = frequencies(programs)
    lines = [f"{100 * share:6.1f} %  {name}" for name, share in sorted(single.items(), key=lambda entry: entry[1])]
    rare = sorted(pairs.items(), key=lambda entry: entry[1])[:30]
    lines.append(f"{len(pairs)} pairs; the rarest:")
    lines += [f"{100 * share:6.2f} %  {a} × {b}" for (a, b), share in rare]
    return "\n".join(lines)
