"""What is not well formed is refused, each fault with the words that name it; what is well formed passes."""

from __future__ import annotations

from fractions import Fraction

import pytest

from chainrule.errors import ChainruleError, EquationError, ShapeError
from chainrule.ir.check import check_equation, check_program
from chainrule.ir.expr import Apply, Component, Constant, Delta, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import parse_equation, parse_program
from chainrule.ir.program import Equation, Program, State

X = Tensor("x", ("N", 3, 8, 8))
W = Tensor("W", (5, 3, 3, 3))
V = Tensor("v", (4,))
IDS = Tensor("ids", ("N",), "integer")
GIVEN = {t.name: t for t in (X, W, V, IDS)}


GOOD = [
    "y[n, o, i<8, j<8] = sum[c, p, q](W[o, c, p, q] * pad(x, 0)[n, c, i + p - 1, j + q - 1])",
    "y[n, c, i, j] = max[p<2, q<2](x[n, c, 2*i + p, 2*j + q])",
    "y[n, c, i<5, j<5] = argmax[p<2, q<2](pad(x, -inf)[n, c, 2*i + p - 1, 2*j + q - 1])",
    "y[n, 64*c + 8*i + j] = x[n, c, i, j]",
    "y[n, k<7] = [k == ids[n]]",
    "y[i] = max(v[i], 0)/N",
]


@pytest.mark.parametrize("text", GOOD)
def test_well_formed_equations_pass(text: str) -> None:
    item = parse_equation(text, tensors=GIVEN)
    check_equation(item)
    check_program(Program((item,), inputs=tuple(GIVEN.values())))


BAD = {
    "y[n, c, i<7, j] = x[n, c, i + 2, j]": ("axis 2 of x", "i + 2", "2 … 8", "extent 8", "pad(x, 0)"),
    "y[n, c, i, j] = x[n, c, i, j - 1]": ("axis 3 of x", "j - 1", "pad(x, 0)"),
    "y[n<N] = x[n - 1, 0, 0, 0]": ("n - 1", "not known", "pad(x, 0)"),
    "y[n, i<9] = max[p<2](x[n, 0, i + p, 0])": ("axis 2 of x", "reaches 0 … 9"),
    "y[n, i<8] = pad(x, -inf)[n, 0, i + 1, 0]": ("outside a maximum", "directly under max"),
    "y[n, i<8] = max[p<2](2*pad(x, -inf)[n, 0, i + p, 0])": ("outside a maximum",),
    "y[n, i<8] = sum[p<2](pad(x, -inf)[n, 0, i + p, 0])": ("outside a maximum",),
    "y[n, i<6] = max[p<2](pad(x, -inf)[n, 0, 2*i + p - 1, 0])": ("padding alone", "i = 5", "less padding"),
    "y[n, i<3, j<3] = max[p<2](pad(x, -inf)[n, 0, i + p - 2, j + p])": ("padding alone",),
    "y[n<N] = max[p<2](pad(x, -inf)[n - p, 0, 0, 0])": ("named extents",),
    "y[n, i, j] = [i == v[j]]": ("v", "real numbers", "integer"),
    "y[i, i] = v[i]": ("index i", "twice on the left"),
    "y[2*i + (j<4)] = v[i]": ("mixed-radix", "2*i + j"),
}


@pytest.mark.parametrize("text", BAD)
def test_ill_formed_equations_are_refused_with_their_reason(text: str) -> None:
    item = parse_equation(text, tensors=GIVEN)
    with pytest.raises(ChainruleError) as caught:
        check_equation(item)
    for words in BAD[text]:
        assert words in str(caught.value)


i, j = Index("i", 4), Index("j", 4)
v_i, v_j = Component(V, (Affine.of(i),)), Component(V, (Affine.of(j),))
y_i = Component(Tensor("y", (4,)), (Affine.of(i),))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Equation(y_i, v_j), "index j is free on the right"),
        (Equation(y_i, Component(V, (Affine.of(Index("i", 3)),))), "extent 4 on the left and 3 on the right"),
        (Equation(y_i, Component(V, (Affine.of(i), Affine.of(i)))), "2 subscripts, but v has 1 axes (4)"),
        (Equation(y_i, Apply("sigmoid", (v_i, v_i))), "sigmoid takes 1 arguments, not 2"),
        (Equation(y_i, Apply("sigmod", (v_i,))), "did you mean sigmoid"),
        (Equation(y_i, Delta(Affine.of(i), v_i)), "real numbers"),
        (Equation(y_i, Reduce("sum", (j, j), v_j)), "twice over one index"),
        (Equation(Component(Tensor("y", (3,)), (Affine.of(i),)), v_i), "outside 0 … 2"),
    ],
)
def test_ill_formed_nodes_are_refused(item: Equation, words: str) -> None:
    with pytest.raises(ChainruleError) as caught:
        check_equation(item)
    assert words in str(caught.value)


A = Tensor("a", (4,))


def program(text: str, **sizes: int) -> Program:
    known = {"v": V, **{name: Tensor(name, (size,)) for name, size in sizes.items()}}
    return Program(tuple(parse_program(text, tensors=known)), inputs=(V,))


@pytest.mark.parametrize(
    "text",
    [
        "a[i] = v[i]\nb[i] = a[i]",
        "a[2*i] = v[i]\na[2*i + 1] = v[i]",
        "a[2*i] = v[i]\nb[i] = v[i]\na[2*i + 1] = v[i]\nc[j] = a[j]",
        "a[i, 2*j] = v[i]*v[j]\na[i, 2*j + 1] = v[i] - v[j]",
    ],
)
def test_well_formed_programs_pass(text: str) -> None:
    check_program(program(text))


@pytest.mark.parametrize(
    ("text", "sizes", "words"),
    [
        ("a[i] = v[i]\na[i] = 2*v[i]", {}, "a is defined twice"),
        ("a[2*i] = v[i]\na[2*i] = v[i]", {"a": 8}, "pieces of a overlap"),
        ("a[2*i] = v[i]\na[i + 3] = v[i]", {"a": 8}, "pieces of a overlap"),
        ("a[2*i] = v[i]", {"a": 8}, "some components of a (8) are not defined, for one a[1]"),
        ("a[3*i] = v[i]\na[3*i + 1] = v[i]", {"a": 12}, "for one a[2]"),
        ("v[i] = 2*v[i]", {}, "v is given, and defined again"),
        ("a[i] = b[i]*v[i]", {"b": 4}, "b is neither given nor defined"),
        ("a[i] = b[i]*v[i]\nb[i] = v[i]", {"a": 4, "b": 4}, "a reads b, which is defined later"),
        ("a[i] = b[i]*v[i]\nb[i] = c[i]\nc[i] = a[i]", {"a": 4, "b": 4, "c": 4}, "cyclic equations: a -> b -> c -> a"),
        ("a[i] = a[i]*v[i]", {"a": 4}, "cyclic equations: a -> a"),
        ("a[2*i] = v[i]\na[2*i + 1] = a[2*i]*v[i]", {"a": 8}, "cyclic equations: a -> a"),
        ("a[i] = sum[k<K](v[i])", {}, "named extent K"),
    ],
)
def test_ill_formed_programs_are_refused(text: str, sizes: dict[str, int], words: str) -> None:
    with pytest.raises(ChainruleError) as caught:
        check_program(program(text, **sizes))
    assert words in str(caught.value)


def test_roles_of_tensors_are_held() -> None:
    copy = (parse_equation("a[i] = v[i]", tensors={"v": V}),)
    check_program(Program(copy, inputs=(V,), states=(State(Tensor("s", (4,)), A),), outputs=(A,)))
    with pytest.raises(ShapeError, match=r"the state s is real \(5\), but its next value a is real \(4\)"):
        check_program(Program(copy, inputs=(V,), states=(State(Tensor("s", (5,)), A),)))
    with pytest.raises(EquationError, match="the next value of s, is neither"):
        check_program(Program(copy, inputs=(V,), states=(State(Tensor("s", (4,)), Tensor("q", (4,))),)))
    with pytest.raises(EquationError, match="the output b is neither"):
        check_program(Program(copy, inputs=(V,), outputs=(Tensor("b", (4,)),)))
    with pytest.raises(EquationError, match="v is given twice"):
        check_program(Program(copy, inputs=(V,), parameters=(V,)))
    with pytest.raises(ShapeError, match="v is real"):
        check_program(Program(copy, inputs=(Tensor("v", (5,)),)))


def test_an_empty_program_and_a_scalar_pass() -> None:
    check_program(Program(()))
    check_program(Program((Equation(Component(Tensor("s", ()), ()), Constant(Fraction(1))),)))
