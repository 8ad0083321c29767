"""field.h against the field executor: the same elements, entry by entry."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from tests.runtime.kernels import EXPORT, HERE, Array, Kernels, pointer
from tests.runtime.test_float import MEMORY

from chainrule.errors import BuildError
from chainrule.ir.expr import Tensor
from chainrule.ir.functions import CATALOGUE
from chainrule.ir.parse import parse_equation
from chainrule.runtime.build import build
from chainrule.runtime.headers import NATIVE, header
from chainrule.runtime.keys import field_keys
from chainrule.semantics.field import evaluate, random_values
from chainrule.semantics.prime import PRIME

SEED = 7
EXPONENTS = [Fraction(1, 2), Fraction(-1, 2), Fraction(4, 3), Fraction(-7, 4)]
LANES = (4, 8, 16)

# Each operation, and the equation that it computes.
EQUATIONS = {
    "add(a, b)": "a[n] + b[n]",
    "sub(a, b)": "a[n] - b[n]",
    "neg(a)": "-a[n]",
    "mul(a, b)": "a[n] * b[n]",
    "mac(a, b, c)": "a[n] * b[n] + c[n]",
    "div(a, b)": "a[n] / b[n]",
    "square_root(a)": "a[n]**(1/2)",
    "mul(div(splat(1), a), square_root(a))": "a[n]**(-1/2)",
    "reciprocal_root(a)": "a[n]**(-1/2)",
    "power(a, 4, 3)": "a[n]**(4/3)",
    "power(a, -7, 4)": "a[n]**(-7/4)",
    "mul(a, power(a, 1, 3))": "a[n]**(4/3)",
    "mul(splat(number(3.14f, named_pi)), splat(named_e))": "pi * e + 0 * a[n]",
    "splat(number(0.5f, 3))": "3 + 0 * a[n]",
    **{f"{f}_(a)": f"{f}(a[n])" for f, entry in CATALOGUE.items() if f in NATIVE and entry.arity == 1},
    **{f"{f}_(a, b)": f"{f}(a[n], b[n])" for f, entry in CATALOGUE.items() if f in NATIVE and entry.arity == 2},
}


def single(text: str) -> str:
    """The same over single numbers."""
    return re.sub(r"\b(?!number|named)(\w+)\(", r"\g<1>1(", text).replace("splat1", "")


def keyed(library: ctypes.CDLL, seed: int = SEED) -> None:
    rows = field_keys(seed, EXPONENTS)
    assert library.chainrule_set_keys(pointer(rows), ctypes.c_long(len(rows))) == 1


@cache
def kernels(lanes: int) -> Kernels:
    many = {f"e{n}": text for n, text in enumerate(EQUATIONS)}
    made = Kernels(HERE.with_lanes(lanes), [], many, {name: single(text) for name, text in many.items()}, over="field")
    keyed(made.library)
    return made


COUNT = 96
TENSORS = {name: Tensor(name, (COUNT,)) for name in "abc"}


@cache
def point() -> dict[str, Array]:
    """Random elements, and every pair of elements at the edges."""
    values = random_values(TENSORS.values(), {}, SEED)
    edges = np.array([0, 1, 2, PRIME - 1, PRIME - 2, 2**32, 2**60], np.uint64)
    values["a"][:49], values["b"][:49] = np.repeat(edges, 7), np.tile(edges, 7)
    return values


def executed(text: str, values: Mapping[str, Array], tensors: Mapping[str, Tensor], seed: int = SEED) -> Array:
    equation = parse_equation(f"y[n<{COUNT}] = {text}", tensors=tensors)
    return evaluate(equation.value, values, equation.indices, extents={}, seed=seed)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("number", range(len(EQUATIONS)), ids=list(EQUATIONS.values()))
def test_an_operation_is_what_the_executor_computes(number: int, lanes: int) -> None:
    values = point()
    wanted = executed([*EQUATIONS.values()][number], values, TENSORS)
    for one in (False, True):
        assert np.array_equal(kernels(lanes)(f"e{number}", *values.values(), one=one), wanted)


def test_other_keys_and_other_words_differ() -> None:
    """The comparison can fail: the functions at another seed, or of an argument one off, are other elements."""
    values = point()
    other = executed("tanh(a[n])", values, TENSORS, seed=SEED + 1)
    near = executed("tanh(a[n] + 1)", values, TENSORS)
    number = [*EQUATIONS.values()].index("tanh(a[n])")
    assert not (kernels(4)(f"e{number}", *values.values()) == other).any()
    assert not (kernels(4)(f"e{number}", *values.values()) == near).any()


WINDOW = 5
REDUCTIONS = f"""
{EXPORT} void softly(const real *x, real *to) {{
  for (long i = 0; i < {COUNT}; i += LANES) {{
    vec top = splat(lse_start()), sum = splat(number(0.0f, 0));
    for (long w = 0; w < {WINDOW}; w++) top = lse_top(top, load(x + w * {COUNT} + i));
    for (long w = 0; w < {WINDOW}; w++) sum = lse_add(sum, load(x + w * {COUNT} + i), top, w);
    store(to + i, add(lse_rest(sum), lse_shift(top)));
  }}
}}
{EXPORT} void greatest(const real *x, real *to, whole *at, long from) {{
  for (long i = 0; i < {COUNT}; i += LANES) {{
    vec best = splat(lowest());
    ints where = splat_ints(0);
    for (long w = from; w < {WINDOW}; w++) {{
      vec next = load(x + w * {COUNT} + i);
      mask m = better(next, best);
      best = select(m, next, best);
      where = select_ints(m, splat_ints((int)w), where);
    }}
    store(to + i, best), store_ints(at + i, where);
  }}
}}
{EXPORT} void greatest1(const real *x, real *to, whole *at, long from) {{
  for (long i = 0; i < {COUNT}; i++) {{
    real best = lowest();
    for (long w = from; w < {WINDOW}; w++)
      if (better1(x[w * {COUNT} + i], best)) best = x[w * {COUNT} + i], at[i] = w;
    to[i] = best;
  }}
}}
{EXPORT} void softly1(const real *x, real *to) {{
  for (long i = 0; i < {COUNT}; i++) {{
    real top = lse_start(), sum = 0;
    for (long w = 0; w < {WINDOW}; w++) top = lse_top1(top, x[w * {COUNT} + i]);
    for (long w = 0; w < {WINDOW}; w++) sum = lse_add1(sum, x[w * {COUNT} + i], top, w);
    to[i] = add1(lse_rest1(sum), lse_shift1(top));
  }}
}}
"""


@pytest.mark.parametrize("lanes", LANES)
def test_reductions_are_what_the_executor_computes(lanes: int) -> None:
    source = header(["logsumexp"], over="field") + REDUCTIONS
    library = ctypes.CDLL(str(build(source, target=HERE.with_lanes(lanes))))
    keyed(library)
    tensors = {"x": Tensor("x", (WINDOW, COUNT))}
    values = random_values(tensors.values(), {}, SEED)
    values["x"][3, ::2] = values["x"][1, ::2]  # ties
    result, at = np.empty(COUNT, np.uint64), np.empty(COUNT, np.int64)
    wanted = executed(f"logsumexp[w<{WINDOW}](x[w, n])", values, tensors)
    for name in ("softly", "softly1"):
        getattr(library, name)(pointer(values["x"]), pointer(result))
        assert np.array_equal(result, wanted)
    for padding in (0, 2):  # the executor's window begins with padding, which is passed over here
        read = "pad(x, -inf)[w - 2, n]" if padding else "x[w, n]"
        shown = {"x": values["x"][padding:]}
        kind = {"x": Tensor("x", shown["x"].shape)}
        best = executed(f"max[w<{WINDOW}]({read})", shown, kind)
        where = executed(f"argmax[w<{WINDOW}]({read})", shown, kind)
        assert len({*where.tolist()}) > 2
        for name in ("greatest", "greatest1"):
            getattr(library, name)(pointer(values["x"]), pointer(result), pointer(at), ctypes.c_long(padding))
            assert np.array_equal(result, best) and np.array_equal(at, where)


@pytest.mark.parametrize("lanes", LANES)
def test_lanes_move_and_fold(lanes: int) -> None:
    rng = np.random.default_rng(2)
    library = ctypes.CDLL(str(build(header([], over="field") + MEMORY, target=HERE.with_lanes(lanes))))
    square = rng.integers(0, PRIME, (lanes, lanes), np.uint64)
    turned = square.copy()
    library.transposed(pointer(turned))
    assert np.array_equal(turned, square.T)
    row = square[0]
    for k in range(lanes + 2):
        live = np.arange(lanes) < k
        wanted = {"part": np.where(live, (PRIME - row) % PRIME, 9), "part_whole": np.where(live, row, 0)}
        for name, value in wanted.items():
            result = np.full(lanes, 9, np.uint64)
            getattr(library, name)(pointer(result), pointer(row), ctypes.c_long(k))
            assert np.array_equal(result, value)
        a, b = (rng.integers(0, 3, lanes) for _ in range(2))
        for flag in (0, 5):
            picked = np.empty(lanes, np.int64)
            library.chosen(pointer(picked), pointer(a), pointer(b), ctypes.c_long(k), ctypes.c_int(flag))
            assert np.array_equal(picked, np.where(((a < b) & live) | ((a == b) & (flag != 0)), a, -7))
    index, result = rng.integers(0, lanes, lanes), np.empty(lanes, np.uint64)
    library.gathered(pointer(result), pointer(square), pointer(index), ctypes.c_long(lanes))
    assert np.array_equal(result, square[index, 0])
    library.summed(pointer(result), pointer(row))
    assert int(result[0]) == sum(map(int, row)) % PRIME
    library.sizes(pointer(result), ctypes.c_long(12345))
    assert result[:2].tolist() == [12345, 17]


def test_keys_are_refused_where_they_do_not_fit() -> None:
    rows = field_keys(SEED)
    assert kernels(4).library.chainrule_set_keys(pointer(rows), ctypes.c_long(3)) == 0
    with pytest.raises(BuildError, match="fractions in exponents"):
        field_keys(SEED, [Fraction(1, n) for n in range(2, 99)])


def names(text: str) -> set[str]:
    """What a header defines: its functions, and the macros that stand for one."""
    pattern = r"^INLINE (?:\w+ )*?(\w+)\(|^#define (\w+)\(|^#define (AS_WRITTEN) |OF_(?:ONE|TWO)\((\w+)\)"
    return {word for pair in re.findall(pattern, text, re.MULTILINE) for word in pair if word}


def test_what_kernels_may_call_is_in_both_headers() -> None:
    floats, field = names(header([*NATIVE, "logsumexp", "power"])), names(header([], over="field"))
    inner = {
        "reduced", "reduced_exp", "exp_fit", "scaled", "power_of_two", "between", "reduced_log",
        "wide_select", "wide_exp", "wide_log", "half_power", "half_erfc", "larger", "smaller",
        *re.findall(r"^#define ([A-Z]\w+)\(", header([]), re.MULTILINE),
    }
    assert floats - inner <= field
    assert {f"{f}_{one}" for f in NATIVE for one in ("", "1")} <= floats
    assert len(floats - inner) > 70 and "AS_WRITTEN" in floats
