"""The table of operators: what each means, as one line of our own language, and the shape of its result.

A, B are the operands, E stands for the extent of an axis, and what is in braces is a parameter. There are three kinds:
of *matrices*, with the entry i, j; *entry by entry*, where i stands for all subscripts; of *planes*, where the line is
about one axis and holds for each of them, every letter being an index of its own there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from chainrule.errors import ShapeError
from chainrule.forms.nodes import Entries, Fill, Form, Jacobian, Length, Number, Ones, Operation, Sum, View, walk
from chainrule.ir.expr import Expr, Tensor
from chainrule.ir.index import Index
from chainrule.ir.parse import parse_expression

LETTERS = "AB"
OPEN = "E"
"""The extent of an axis in a meaning; an operand gives it."""
Shape = tuple[Length, ...]
UNIT = Length(1)


Along = Callable[[Sequence[Length], Mapping[str, Any]], Length]
"""The length of a result along an axis, from those of the operands and the parameters."""


@dataclass(frozen=True, slots=True)
class Operator:
    """`shape` is of matrices the axes of the operands and of the result, by letters, and of planes a rule for each
    axis. `folds` says that more operands than two are put together from the left."""

    meaning: str
    kind: Literal["matrix", "entrywise", "plane"]
    shape: str | Along = ""
    folds: bool = False


def _matrix(meaning: str, shape: str) -> Operator:
    return Operator(meaning, "matrix", shape)


def _plane(meaning: str, shape: Along) -> Operator:
    return Operator(meaning, "plane", shape)


OPERATORS: dict[str, Operator] = {
    "transpose": _matrix("A[j, i]", "JI>IJ"),
    "matmul": _matrix("sum[k](A[i, k]*B[k, j])", "IK,KJ>IJ"),
    "diag": _matrix("[i == j]*A[i]", "I1>II"),
    "onehot_rows": _matrix("[j == A[i]]", "I1>IJ"),
    "onehot": _matrix("[i == A]", "11>J1"),
    "softmax_rows": _matrix("exp(A[i, j] - logsumexp[k](A[i, k]))", "IJ>IJ"),
    "softmax": _matrix("exp(A[i, j] - logsumexp[k](A[k, j]))", "IJ>IJ"),
    "logsumexp_rows": _matrix("logsumexp[k](A[i, k])", "IJ>I1"),
    "logsumexp": _matrix("logsumexp[k](A[k, j])", "IJ>1J"),
    "max_rows": _matrix("max[k](A[i, k])", "IJ>I1"),
    "max": _matrix("max[k](A[k, j])", "IJ>1J"),
    "argmax_rows": _matrix("argmax[k](A[i, k])", "IJ>I1"),
    "argmax": _matrix("argmax[k](A[k, j])", "IJ>1J"),
    "logsumexp_all": _matrix("logsumexp[k, l](A[k, l])", "IJ>11"),
    "max_all": _matrix("max[k, l](A[k, l])", "IJ>11"),
    "argmax_all": _matrix("argmax[k, l](A[k, l])", "IJ>11"),
    "hadamard": Operator("A[i]*B[i]", "entrywise", folds=True),
    "plus": Operator("A[i] + B[i]", "entrywise", folds=True),
    "scale": Operator("A[i]*B", "entrywise", folds=True),
    "power": Operator("A[i]**({exponent})", "entrywise"),
    "apply": Operator("{function}(A[i])", "entrywise"),
    "apply2": Operator("{function}(A[i], B[i])", "entrywise"),
    # The sum of all entries of a plane.
    "total": _plane("sum[p](A[p])", lambda of, own: UNIT),
    # `before` cells of `value` put before the plane (or, negative, so many cut off), and `after` behind it (None where
    # a named extent leaves it open). Some cells more change nothing, as a window with a step does not reach them.
    "pad": _plane("pad(A, {value})[i - {before}]", lambda of, own: of[0] + own["before"] + (own["after"] or 0)),
    # factor − 1 zeros between neighbours; every factor-th entry, from the first.
    "up": _plane("sum[p]([i == {factor}*p]*A[p])", lambda of, own: of[0] * own["factor"] + (1 - own["factor"])),
    "down": _plane("A[{factor}*i]", lambda of, own: of[0].every(own["factor"])),
    # ⋆, where B lies inside A, and ∗, in full.
    "correlate": _plane("sum[p](A[i + p]*B[p])", lambda of, own: of[0] + of[1] * -1 + 1),
    "convolve": _plane("sum[p](pad(A, 0)[i - p]*B[p])", lambda of, own: of[0] + of[1] + -1),
    # The maximum of each window, and its position; `hole` is the step between the window's cells.
    "maxpool": _plane("max[p<{window}](A[i + {hole}*p])", lambda of, own: _places(of[0], own)),
    "argmaxpool": _plane("argmax[p<{window}](A[i + {hole}*p])", lambda of, own: _places(of[0], own)),
    # Each entry of A added to the cell of its window that B names; window o begins at stride·o, and `before` cells of
    # the whole are cut off.
    "unpool": _plane(
        "sum[o, p<{window}]([i + {before} == {stride}*o + {hole}*p]*[p == B[o]]*A[o])",
        lambda of, own: Length.of(own["size"]),
    ),
}


def _places(length: Length, own: Mapping[str, Any]) -> Length:
    return length + Length.of(own["window"]) * -own["hole"] + own["hole"]


@lru_cache(maxsize=1024)
def template(meaning: str) -> Expr:
    """The meaning as an expression over operands whose axes are open."""
    tensors: dict[str, Tensor] = {}
    for letter, subscripts in re.findall(rf"\b([{LETTERS}])\b(?:, [^)]*\))?(\[[^\]]*\])?", meaning):
        rank = subscripts.count(",") + 1 if subscripts else 0
        tensors[letter] = Tensor(letter, (OPEN,) * rank, "integer" if f"== {letter}" in meaning else "real")
    return parse_expression(meaning, tensors=tensors, indices={name: Index(name, OPEN) for name in "ij"})


def parameters(form: Operation, axis: int) -> dict[str, Any]:
    """The parameters of an operator on planes along one axis."""
    return {name: value[axis] for name, value in form.parameters}


def shape(form: Form) -> Shape:
    """The lengths of the axes of a form; none of a number. Raises ShapeError where operands do not fit."""
    match form:
        case View():
            return form.whole
        case Entries(axes=axes):
            return tuple(Length.of(i.extent) for i in axes)
        case Number():
            return ()
        case Fill(shape=extents) | Ones(shape=extents):
            return tuple(map(Length.of, extents))
        case Jacobian(of=of, wrt=wrt):
            return tuple(map(Length.of, (*of.shape, *wrt.shape)))
        case Sum(inner=inner):
            return shape(inner)
        case Operation(name=name, of=of):
            operator, shapes = OPERATORS[name], [shape(part) for part in of]
            if operator.kind == "matrix":
                return _of_matrices(form, operator, shapes)
            if operator.kind == "entrywise":
                return _of_entries(form, shapes)
            if name == "total":
                return ()
            assert callable(operator.shape)
            rank = len(shapes[0])
            if any(len(s) != rank for s in shapes):
                raise ShapeError(f"{name} needs planes of one rank")
            return tuple(operator.shape([s[k] for s in shapes], parameters(form, k)) for k in range(rank))


def fits(one: Form, other: Form) -> bool:
    """Whether a form has the axes of another, but for the second one of a column; a number has the same everywhere."""
    a, b = shape(one), shape(other)
    unknown = any(node.name == "pad" and None in node["after"] for node in walk(other) if isinstance(node, Operation))
    longest = max(len(a), len(b))
    return unknown or not b or (*a, *[UNIT] * (longest - len(a))) == (*b, *[UNIT] * (longest - len(b)))


def matrix_shape(form: Form) -> tuple[Length, Length]:
    return _square(shape(form))


def _square(lengths: Shape) -> tuple[Length, Length]:
    if len(lengths) > 2:
        raise ShapeError(f"{_times(lengths)} is no matrix")
    return (*lengths, UNIT, UNIT)[0], (*lengths, UNIT, UNIT)[1]


def _of_matrices(form: Operation, operator: Operator, shapes: Sequence[Shape]) -> Shape:
    assert isinstance(operator.shape, str)
    needed, result = operator.shape.split(">")
    found = {"1": UNIT}
    if form.parameters:
        found["J"] = Length.of(form["extent"])
    for letters, own in zip(needed.split(","), map(_square, shapes), strict=True):
        for letter, length in zip(letters, own, strict=True):
            if found.setdefault(letter, length) != length:
                raise ShapeError(f"{form.name} does not fit " + " and ".join(_times(_square(s)) for s in shapes))
            found[letter] = max(found[letter], length, key=lambda one: len(one.digits))
    return tuple(found[letter] for letter in result)


def _of_entries(form: Operation, shapes: Sequence[Shape]) -> Shape:
    """One shape for all, but for numbers; of `scale` only the first operand may be more than a number."""
    result = shapes[0] if form.name == "scale" else max(shapes, key=len)
    for own in shapes[1:] if form.name == "scale" else shapes:
        needed = () if form.name == "scale" else result
        if own and (*own, *[UNIT] * (len(needed) - len(own))) != (*needed, *[UNIT] * (len(own) - len(needed))):
            raise ShapeError(f"{form.name} needs one shape, got " + ", ".join(map(_times, shapes)))
    # An axis that is run together in one of them is so in all.
    each = [[s[k] for s in shapes if len(s) > k] for k in range(len(result))]
    return tuple(max(lengths, key=lambda one: len(one.digits)) for lengths in each)


def _times(lengths: Shape) -> str:
    return "×".join(map(str, lengths)) or "1"
