"""Reading and printing: text read back is the same nodes, and what is no equation is refused with a reason."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples

from chainrule.arrays.execute import execute
from chainrule.errors import EquationError, ShapeError
from chainrule.ir.check import check_equation
from chainrule.ir.expr import (
    Add,
    Apply,
    Component,
    Constant,
    Delta,
    Derivative,
    Expr,
    Guard,
    Multiply,
    Pad,
    Power,
    Reduce,
    ReduceKind,
    Size,
    Tensor,
)
from chainrule.ir.functions import CATALOGUE, arity
from chainrule.ir.index import Affine, Extent, Index
from chainrule.ir.parse import law, mean_factors, parse_equation, parse_expression, parse_program
from chainrule.ir.print import to_text
from chainrule.ir.program import Equation, Program
from chainrule.ir.source import MAX_LENGTH
from chainrule.ir.walk import components

TENSORS = {
    t.name: t
    for t in (
        Tensor("x", ("N", 4, 6)), Tensor("W", ("K", 4)), Tensor("b", ("K",)), Tensor("s", ()), Tensor("v", (12,)),
        Tensor("dense1.W", (4, 5)), Tensor("id", ("N",), "integer"), Tensor("label", (), "integer"),
    )
}
REAL = [t for t in TENSORS.values() if t.dtype == "real"]
INTEGER = [t for t in TENSORS.values() if t.dtype == "integer"]
BOUND = [Index("p", 4), Index("q", 5), Index("r", 6), Index("k2", "K"), Index("t", 3), Index("m", "N"), Index("l", 12)]
KINDS: tuple[ReduceKind, ...] = ("sum", "max", "argmax", "logsumexp")
FREE = (Index("n", "N"), Index("k", "K"), Index("c", 3), Index("i", 4), Index("j", 6))
SCALARS = {name: Tensor(name, ()) for name in "abcd"}
Scope = tuple[Index, ...]
numbers = st.one_of(
    st.integers(-3, 3).map(Fraction), st.fractions(-9, 9, max_denominator=12),
    st.sampled_from([Fraction(1, 10**300), Fraction("-1.25e-60"), Fraction(10) ** 50, Fraction(0.1)]),
)

exponents = st.sampled_from([*map(Fraction, (-1, -1, 2, 64, -3)), Fraction(1, 2), Fraction(-3, 7)])
OUTSIDE: tuple[Pad | None, ...] = (None, "-inf")
paddings = st.one_of(st.none(), st.sampled_from(OUTSIDE), numbers)
KINDS_OF_LEAF = ["number", "number", "named", "size", "component", "component", "delta", "label", "guard"]
KINDS_OF_NODE = [
    "add", "add", "multiply", "multiply", "multiply", "negative", "power", "apply", "reduce", "mean", "derivative",
]


@st.composite
def affines(draw: st.DrawFn, scope: Scope) -> Affine:
    indices = draw(st.lists(st.sampled_from(scope), max_size=3, unique=True)) if scope else []
    terms = tuple((i, draw(st.sampled_from([-2, -1, 1, 2, 12]))) for i in indices)
    return Affine(terms, draw(st.integers(-3, 3)))


@st.composite
def subscripts(draw: st.DrawFn, scope: Scope, extent: Extent, padded: bool) -> Affine:
    fitting = [i for i in scope if i.extent == extent]
    if fitting and draw(st.booleans()):
        return Affine.of(draw(st.sampled_from(fitting)))
    form = draw(affines(scope))
    # An unpadded plain subscript of another extent is an error, not a text.
    return form if padded or form.plain is None or form.plain.extent == extent else Affine((), 1)


@st.composite
def reads(draw: st.DrawFn, scope: Scope, tensor: Tensor) -> Component:
    pad = draw(paddings)
    return Component(tensor, tuple(draw(subscripts(scope, e, pad is not None)) for e in tensor.shape), pad)


@st.composite
def expressions(draw: st.DrawFn, scope: Scope, depth: int) -> Expr:
    case = draw(st.sampled_from(KINDS_OF_LEAF if depth == 0 else [*KINDS_OF_NODE, *KINDS_OF_LEAF[3:6]]))
    part = expressions(scope, depth - 1)
    match case:
        case "number":
            return Constant(draw(numbers))
        case "named":
            return Constant(draw(st.sampled_from(["pi", "e"])))
        case "size":
            return Size(draw(st.sampled_from(["N", "K"])))
        case "component":
            return draw(reads(scope, draw(st.sampled_from(REAL))))
        case "delta":
            return Delta(draw(affines(scope)), draw(affines(scope)))
        case "label":
            return Delta(draw(affines(scope)), draw(reads(scope, draw(st.sampled_from(INTEGER)))))
        case "guard":
            return Guard(draw(affines(scope)), draw(st.sampled_from([14, 1, "K"])))
        case "add":
            return Add(tuple(draw(st.lists(part, min_size=2, max_size=3))))
        case "multiply":
            return Multiply(tuple(draw(st.lists(part, min_size=2, max_size=3))))
        case "negative":
            return Multiply((Constant(Fraction(-1)), *draw(st.lists(part, min_size=1, max_size=2))))
        case "power":
            return Power(draw(part), draw(exponents))
        case "apply":
            name = draw(st.sampled_from([*CATALOGUE, "d1_sigmoid", "d2_max"]))
            return Apply(name, tuple(draw(part) for _ in range(arity(name))))
        case "derivative":
            return Derivative(draw(part), Component(TENSORS["s"], ()))
        case _:
            unused = st.sampled_from([i for i in BOUND if i not in scope])
            new = tuple(draw(st.lists(unused, min_size=1, max_size=2, unique=True)))
            body = draw(expressions((*scope, *new), depth - 1))
            if case == "reduce":
                return Reduce(draw(st.sampled_from(KINDS)), new, body)
            return Multiply((*mean_factors(new), Reduce("sum", new, body)))


@st.composite
def equations(draw: st.DrawFn) -> Equation:
    n, k, c, i, j = FREE
    forms = {index: Affine.of(index) for index in (n, k, i)}
    forms |= {c: Affine(((c, 24), (i, 6), (j, 1))), j: Affine(((j, 2),), 1)}
    extents: dict[Index, Extent] = {n: "N", k: "K", i: 4, c: 72, j: 12}
    heads = draw(st.sampled_from([(), (n,), (n, k), (n, c), (i, n), (k, j), (n, i, j)]))
    subscripts = tuple(forms[h] for h in heads)
    target = Component(Tensor("y", tuple(extents[h] for h in heads)), subscripts)
    return Equation(target, draw(expressions(target.free, draw(st.integers(0, 3)))))


@examples(120, 5000)
@given(equations())
def test_printed_equation_reads_back_as_the_same_nodes(equation: Equation) -> None:
    text = to_text(equation)
    again = parse_equation(text, tensors={**TENSORS, "y": equation.tensor})
    assert again.target is equation.target, text
    assert again.value is equation.value, text
    assert to_text(again) == text


@examples(60, 2000)
@given(expressions(FREE, 2))
def test_printed_expression_reads_back_as_the_same_node(expression: Expr) -> None:
    text = to_text(expression)
    assert parse_expression(text, tensors=TENSORS, indices={i.name: i for i in FREE}) is expression, text


EXAMPLES = [
    "u[n, k] = sum[l](W[k, l]*x[n, l]) + b[k]",
    "y[n<N, o, i<14, j<14] = sum[c, p<3, q<3](W[o, c, p, q]*pad(x, 0)[n, c, 2*i + p - 1, 2*j + q - 1]) + b[o]",
    "y[n<N, c<C, i<3] = argmax[p<2](pad(x, -inf)[n, c, 2*i + p - 1])",
    "y[n, 12*(c<3) + 4*(i<3) + (j<4)] = x[n, c, i, j]",
    "e[n, t, d] = sum[v]([v == id[n, t]]*E[v, d])",
    "loss = mean[n](logsumexp[k](u[n, k]) - sum[k](t[n, k]*u[n, k]))",
    "g[i<7] = sum[p<3]([0 <= 2*i + p - 1 < 14])",
    "z[n] = -x[n]**2 + (-2)**3 - (y[n] + 1) - y[n]/x[n]/2 + 2*(1/3)",
    "y[k, i<K] = D(sigmoid(x[i]), x[k])",
    "m[k<K1] = q[k]",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_canonical_text_is_its_own_print(text: str) -> None:
    equation = parse_equation(text)
    assert to_text(equation) == text
    known = {c.tensor.name: c.tensor for c in components(equation.value)}
    again = parse_equation(text, tensors=known)
    assert (again.target, again.value) == (equation.target, equation.value)


a, b, c, d = (Component(SCALARS[name], ()) for name in "abcd")
half, two, minus = Constant(Fraction(1, 2)), Constant(Fraction(2)), Constant(Fraction(-1))
SUGAR = {
    "a + b + c": Add((a, b, c)),
    "(a + b) + c": Add((Add((a, b)), c)),
    "a + (b + c)": Add((a, Add((b, c)))),
    "a - b*c": Add((a, Multiply((minus, b, c)))),
    "a - (b*c)": Add((a, Multiply((minus, Multiply((b, c)))))),
    "a - (b)*c": Add((a, Multiply((minus, b, c)))),
    "a - 2": Add((a, Constant(Fraction(-2)))),
    "a - 2/3": Add((a, Constant(Fraction(-2, 3)))),
    "a*b*c": Multiply((a, b, c)),
    "(a*b)*c": Multiply((Multiply((a, b)), c)),
    "a/b": Multiply((a, Power(b, Fraction(-1)))),
    "a/2": Multiply((a, half)),
    "1/2*a": Multiply((half, a)),
    "a*0.1": Multiply((a, Constant(Fraction(1, 10)))),
    "-a": Multiply((minus, a)),
    "-a*b": Multiply((minus, a, b)),
    "(-a)*b": Multiply((Multiply((minus, a)), b)),
    "-2": Constant(Fraction(-2)),
    "-a**2": Multiply((minus, Power(a, Fraction(2)))),
    "a**-1": Power(a, Fraction(-1)),
    "a**(1/2)": Power(a, Fraction(1, 2)),
    "sqrt(a)": Power(a, Fraction(1, 2)),
    "[a > 0]": Apply("step", (a,)),
    "max(a, 0)": Apply("max", (a, Constant(Fraction(0)))),
    "mean[i<2, j<3](a)": Multiply((Constant(Fraction(1, 6)), Reduce("sum", (Index("i", 2), Index("j", 3)), a))),
    "mean[n<N](a)": Multiply((Power(Size("N"), Fraction(-1)), Reduce("sum", (Index("n", "N"),), a))),
    "a/N": Multiply((a, Power(Size("N"), Fraction(-1)))),
    "2*pi": Multiply((two, Constant("pi"))),
}


@pytest.mark.parametrize("text", SUGAR)
def test_what_is_written_is_what_is_built(text: str) -> None:
    assert parse_expression(text, tensors=SCALARS) is SUGAR[text]


SPELLED = {
    "y[n] = min[k](x[n, k])": "y[n] = -max[k](-x[n, k])",
    "y[n] = argmin[k](x[n, k])": "y[n] = argmax[k](-x[n, k])",
    "y[n, k] = [x[n, k] > b[k]]": "y[n, k] = step(x[n, k] - b[k])",
    "y[n] = [0 < x[n]]": "y[n] = step(x[n])",
    "y[n] = [x[n] < 0]": "y[n] = step(-x[n])",
    "y[n, k<3] = [[n == k]*x[n] > 0]": "y[n, k<3] = step([n == k]*x[n])",
    "y[n] = [x[n] <= 3]": "y[n] = 1 - step(x[n] - 3)",
    "y[n, i<5] = sum[j<5]([j <= i]*x[n, j])": "y[n, i<5] = sum[j<5]([0 <= i - j < 5]*x[n, j])",
    "y[n, i] = sum[j<5]([j > i]*x[n, j]) + b[i]": "y[n, i] = sum[j<5]([0 <= j - i - 1 < 5]*x[n, j]) + b[i]",
    "y[n, i<5] = sum[j<4]([j <= i + 1]*x[n, j])": "y[n, i<5] = sum[j<4]([0 <= i - j + 1 < 6]*x[n, j])",
    "y[n, i<5] = sum[j<5]([i + j <= 3]*x[n, j])": "y[n, i<5] = sum[j<5]([0 <= 3 - i - j < 4]*x[n, j])",
    "y[n, i<5] = sum[j<5]([i != j]*x[n, j])": "y[n, i<5] = sum[j<5]((1 - [i == j])*x[n, j])",
    "y[n, i<5] = [1 < i <= 3]*x[n, i]": "y[n, i<5] = ([0 <= i - 2 < 3]*[0 <= 3 - i < 4])*x[n, i]",
    "y[n, m<N] = [n < m]*x[n]": "y[n, m<N] = [0 <= m - n - 1 < N]*x[n]",
    "y[n, k<4] = M[id[n], k] + v[k]": "y[n, k<4] = sum[v1]([v1 == id[n]]*M[v1, k]) + v[k]",
    "y[n] = M[a[n], b[n]]": "y[n] = sum[v, v1]([v == a[n]]*[v1 == b[n]]*M[v, v1])",
}


@pytest.mark.parametrize("text", SPELLED)
def test_another_spelling_is_read_as_what_it_means(text: str) -> None:
    assert parse_equation(text) == parse_equation(SPELLED[text])


def test_a_bracket_of_indices_is_1_where_it_says() -> None:
    """Every comparison of two indices against Python's own."""
    i, j = np.indices((4, 3))
    signs = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "!=": np.not_equal}
    for (sign, compare), (left, right, shift) in product(signs.items(), product((-2, 1, 2), (-1, 1, 3), (-2, 0, 3))):
        equation = parse_equation(f"y[i<4, j<3] = [{left}*i {sign} {right}*j + {shift}]")
        found = execute(Program((equation,)), {})["y"]
        np.testing.assert_array_equal(found, compare(left * i, right * j + shift), err_msg=f"{left} {sign} {right}")


def test_every_law_of_the_catalogue_reads() -> None:
    for function in CATALOGUE.values():
        for argument in range(function.arity):
            assert law(function.name, argument) is law(function.name, argument)
    assert to_text(law("sigmoid", 0)) == "f*(1 - f)"


def extents(text: str, **options: object) -> dict[str, Extent]:
    equation = parse_equation(text, **options)  # type: ignore[arg-type]
    return {i.name: i.extent for i in equation.indices}


IMAGE = {"x": Tensor("x", ("N", 3, 9, 4))}


def test_extents_are_inferred() -> None:
    pool = "y[n, c, i, j] = max[p<2, q<2](x[n, c, 2*i + p, 2*j + q])"
    assert extents(pool, tensors=IMAGE) == {"n": "N", "c": 3, "i": 4, "j": 2}
    flat = parse_equation("y[n, c*H*W + i*W + j] = x[n, c, i, j]", tensors=IMAGE, extents={"H": 9, "W": 4})
    assert flat.tensor.shape == ("N", 108)
    assert extents("y[i<H] = 1", extents={"H": 9}) == {"i": 9}
    assert extents("y[i<H] = 1") == {"i": "H"}
    assert parse_equation("a[n] = argmax[k](u[n, k])").tensor.dtype == "integer"
    assert parse_equation("y[n, k] = [k == id[n]]").value.right.tensor.dtype == "integer"  # type: ignore[attr-defined]
    two_scopes = parse_equation("y = sum[i<2](a[i]) + sum[i<3](b[i])")
    assert [t.tensor.shape for t in components(two_scopes.value)] == [(2,), (3,)]


def test_program_lines_know_the_tensors_of_lines_before() -> None:
    program = parse_program(
        """
        u[n, k] = sum[l](W[k, l] * x[n, l])   # dense
        v[n, k] = sum[j](
            V[k, j] * u[n, j])
        y[2*(i<4)] = c[i]
        y[2*i + 1] = c[i]
        q[i] = y[i]
        """
    )
    assert [e.tensor.shape for e in program] == [("N", "K"), ("N", "K1"), (8,), (8,), (8,)]


REFUSED = {
    "y[n] = x[n, k]": "index k is free on the right but not on the left",
    "y[n, c, i] = max[p<2](x[n, c, 2*i + p])": "declare it as i<",
    "y[i] = pad(x, 0)[i]": "declare it as i<",
    "y[n, c*H + i] = x[n, c, i]": "pass extents={'H': ...}",
    "y[n] = sigmod(x[n])": "did you mean sigmoid",
    "y[n] = summ[i](x[i])": "did you mean sum",
    "y = max(x)": "max[i]",
    "y = sum(x)": "without indices",
    "y = sum[i, i](x[i])": "twice over index i",
    "y = x**z": "constant",
    "y = x**65": "beyond",
    "y = x**2**3": "is no number",
    "y = x/0": "division by zero",
    "y = 1/0": "division by zero",
    "y[i<0] = 1": "no extent",
    "y = x[i*i] + 0*i": "free on the right",
    "y[i] = x[i*i]": "not affine",
    "y[i] = x[i:2]": "not affine",
    "y[i] = i": "used as a number",
    "y = [1, 2]": "is no bracket",
    "y = __import__('os')": "quoted text",
    "y = __import__(os)": "underscore",
    "y = _x": "underscore",
    "y = x.__class__": "underscore",
    "y = x.real": "attribute access is no part of the language",
    "y = ().__class__": "attribute access",
    "y = lambda: 1": "lambda is no part",
    "y = [i for i in x]": "comprehension is no part",
    "y = (i for i in x)": "comprehension is no part",
    "y = f'{x}'": "quoted text",
    "y = x if x else x": "no part of the language",
    "y = (z := 1)": "no part of the language",
    "y = True": "no part of the language",
    "y = 1j": "no part of the language",
    "y = exp(x=1)": "keyword",
    "y = exp(*x)": "keyword or starred",
    "y = open(x)": "the function open is unknown",
    "y = eval(x)": "the function eval is unknown",
    "y = x; z = y": "no equation",
    "import os": "no equation",
    "del x": "no equation",
    "y == x": "no equation",
    "y += x": "no equation",
    "y = z = x": "no equation",
    "(y, z) = x": "cannot be defined",
    "y = ": "cannot be read",
    "": "empty",
    "e = x": "is a constant",
    "y = x\0": "null byte",
    "\ud800 = x": "cannot be read",
    "y = " + "(" * 101 + "x" + ")" * 101: "nested deeper",
    "y = " + "[" * 5000: "nested deeper",
    "y = " + "-" * 5000 + "x": "nested too deeply",
    "y = x" + "+x" * (MAX_LENGTH // 2 - 10): "nested too deeply",
    "y = x" + " " * MAX_LENGTH: "longer than",
    "y = " + "9" * 41: "too long",
    "y = 1e401": "exponent",
    "y = 1e400": "too large for float64",
    "y = 1.8e308*x": "too large for float64",
    "y = 1e300/1e-300": "too large for float64",
    "y[i<3] = pad(x, 1e309)[i]": "too large for float64",
    "y = 1e-400": "too small for float64",
    "y = x/1e400": "too large for float64",
    "y = 1e-300/1e300": "too small for float64",
    "y = nan": "nan is no number",
    "y[n] = x[n] + inf": "-inf stands in pad",
    "y = -inf": "-inf stands in pad",
    "y[n] = inf[n]": "inf is no number",
    "y[n<N, m<M] = [2*n < 3*m]": "no greatest value",
    "y[n, k<2] = pad(M, 0)[id[n], k]": "read the tensor itself",
    "y[n] = [a[n] != b[n]]": "no bracket",
    "y = 1e99999999999999999": "exponent",
    "y = 1e-99999": "exponent",
    "y = 10**10**10": "is no number",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text[:30]))
def test_what_is_no_equation_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(EquationError) as caught:
        parse_equation(text)
    assert REFUSED[text] in str(caught.value)


def test_a_closed_world_suggests_the_nearest_name() -> None:
    with pytest.raises(EquationError, match="did you mean weight"):
        parse_equation("y[i] = wieght[i]", tensors={"weight": Tensor("weight", (3,))})
    assert parse_equation("y[i] = wieght[i]").tensor.shape == ("I",)


@pytest.mark.parametrize("text", [
    "n = mean[k](v[k])\ny[{}, k] = [n > 0]*x[{}, k]", "n = argmax[k<3](v[k])\ny[{}, k<3] = [k == n]*x[{}, k]",
])  # fmt: skip
def test_a_bracket_is_not_about_an_index_and_a_tensor_of_one_name(text: str) -> None:
    with pytest.raises(EquationError, match="the index or the tensor of that name"):
        parse_program(text.format("n", "n"))
    *_, equation = parse_program(text.format("m", "m"))
    assert "n" in {t.name for t in equation.value.tensors}


def test_a_dotted_name_is_read_only_where_declared() -> None:
    text = "y[k, l] = dense1.W[k, l]"
    assert parse_equation(text, tensors=TENSORS).tensor.shape == (4, 5)
    with pytest.raises(EquationError, match="attribute access"):
        parse_equation(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [("y[i<5] = x[i + 1] - x[i]", "x[i]"), ("y[n, k<3] = x[n, k] * sigmoid(x[n, k + 3])", "x[n, k]")],
)
def test_a_plain_read_of_a_part_of_an_axis_is_refused_with_the_way_to_write_it(text: str, part: str) -> None:
    fix = part.replace("x", "pad(x, 0)")
    for known in (None, {"x": Tensor("x", (6,) if part == "x[i]" else ("N", 6))}):
        with pytest.raises(ShapeError) as caught:
            parse_equation(text, tensors=known)
        assert fix in str(caught.value)
    left, _, right = text.partition("= ")
    known = {"x": Tensor("x", (6,) if part == "x[i]" else ("N", 6))}
    check_equation(parse_equation(f"{left}= {right.replace(part, fix)}", tensors=known))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("y[i<2] = x[i] + z[i] + sum[j<3](x[j])", ("extent 3", "2", "j<3", "x[j]")),
        ("y[n, c, i<2, j] = x[n, c, i, j]", ("index i", "2", "9", "axis 2 of x (N, 3, 9, 4)")),
        ("y[n] = x[n, n]", ("2 subscripts", "4 axes (N, 3, 9, 4)")),
        ("y[n] = z[n] + z[n, n]", ("2 subscripts", "has 1")),
        ("y[n, c, i] = x[n, c, i + 9, 0]", ("i + 9", "extent 9", "pad(x, 0)")),
    ],
)
def test_extents_that_do_not_fit_are_named_with_their_places(text: str, words: tuple[str, ...]) -> None:
    known = {**IMAGE, "z": Tensor("z", ("N",))} if "n" in text else None
    with pytest.raises(ShapeError) as caught:
        parse_equation(text, tensors=known)
    for word in words:
        assert word in str(caught.value)
