"""Every concise form of a convolution or a pooling equals the component form, in floats and in the field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from chainrule.derive import Lemma
from chainrule.derive.scene import Line, of_lemma
from chainrule.derive.subject import Subject
from chainrule.errors import ShapeError
from chainrule.forms import Concise, Form, concise, holds, operation, shape, walk
from chainrule.forms.nodes import Operation, parts, rebuilt
from chainrule.ir.expr import Component, Tensor
from chainrule.ir.program import Equation
from chainrule.semantics import entries
from chainrule.semantics.exact import Exact
from chainrule.verify.exact import SceneCheck
from tests.derive.cases import CASES, Case
from tests.examples import examples
from tests.floats import evaluate
from tests.forms.values import concise as concise_value

Array = NDArray[Any]
SAMPLES = {"N": 2}
# For each case, the tensors by which the gradient has a form in planes ("" is the forward equation). A case that loses
# one turns the test red.
WITH_FORM: dict[str, set[str]] = {
    "conv2d_stride_padding": {"", "x", "W", "b"},
    "conv2d_valid": {"", "x", "W"},
    "conv1d_stride_3_kernel_2": {"", "x", "W"},
    "conv1d_dilated": {"", "x", "W"},
    "conv1d_stride_and_dilation_share_a_factor": {"", "x", "W"},
    "conv_grouped": {"", "x", "W"},
    "transposed_conv": {"", "x", "W"},
    "max_pool": {"", "x"},
    "max_pool_overlapping_padded": {"", "x"},
    "max_pool_gaps": {"", "x"},
    "mean_pool_overlapping_padded": {"", "x"},
    "mean_pool_real_cells": {"", "x"},
}
WITHOUT_FORM = {"windows_into_a_reshape", "two_reads_of_one_tensor", "volterra", "embedding", "reshape"}


def scattered(target: Component, array: Array) -> Array:
    """The tensor whose entries at the target's subscripts are the array's, which has an axis for each index."""
    shape = [SAMPLES.get(e, 0) if isinstance(e, str) else e for e in target.tensor.shape]
    grid = dict(zip(target.free, np.indices(array.shape), strict=True)) if array.ndim else {}
    result = np.full(shape, np.nan)
    where = tuple(s.offset + sum(c * grid[i] for i, c in s.terms) for s in target.subscripts)
    result[where] = array
    return result


def detailed(equations: Iterable[Equation], values: Mapping[str, Array], auxiliary: Iterable[Equation] = ()) -> Array:
    computed = {e.tensor.name: e for e in auxiliary}
    parts = [
        scattered(e.target, evaluate(e.value, values, e.target.free, extents=SAMPLES, definitions=computed))
        for e in equations
    ]
    result = parts[0]
    for part in parts[1:]:
        result = np.where(np.isnan(result), part, result)
    return result


def planes(form: Concise, values: Mapping[str, Array]) -> Array:
    return scattered(form.target, concise_value(form, values, SAMPLES).astype(float))


def of_planes(form: Concise | None) -> Concise | None:
    return form if form is not None and form.family == "planes" else None


def drawn(read: Iterable[Tensor], auxiliary: Iterable[Equation] = (), seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for tensor in read:
        shape = tuple(SAMPLES[e] if isinstance(e, str) else e for e in tensor.shape)
        values[tensor.name] = rng.uniform(0.5, 2, shape)
    for equation in auxiliary:
        values[equation.tensor.name] = evaluate(equation.value, values, equation.target.free, extents=SAMPLES)
    return values


def result(lemma: Lemma, values: Mapping[str, Array]) -> Array:
    return detailed([p.equation for p in lemma.pieces], values, lemma.auxiliary)


def data(lemma: Lemma) -> dict[str, Array]:
    """Values of what the lines read; what the forward pass computes has its own value."""
    computed = {e.tensor: e for e in (*lemma.facts, lemma.equation, *lemma.auxiliary)}
    read = {t for e in computed.values() for t in e.value.tensors} | {lemma.error_signal}
    return drawn(sorted(read - set(computed), key=lambda t: t.name), computed.values())


def lemmas(case: Case) -> Iterable[tuple[str, Lemma]]:
    """Each lemma of a case, for the batch and for one sample."""
    for name, gradient in case.derivation.parts.items():
        for use in gradient.uses:
            yield name, use.instance
            if use.instance.sample is not None:
                yield name, use.instance.sample


def agree(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-12, atol=1e-12))


def check(case: Case, expected: set[str] | None) -> None:
    """Every form that is found is right, and for each of `expected` there is one."""
    found = dict.fromkeys(expected or (), 0)
    derivation = case.derivation
    for equation in derivation.forward.equations:
        form = of_planes(concise(equation.target, equation.value))
        if form is not None and "argmax" not in equation.tensor.name:
            values = drawn(equation.value.tensors)
            assert agree(planes(form, values), detailed([equation], values)), equation
            found[""] = found.get("", 0) + 1
    for name, lemma in lemmas(case):
        form = of_planes(lemma.concise)
        if form is not None:
            values = data(lemma)
            assert agree(planes(form, values), result(lemma, values)), str(lemma)
            found[name] = found.get(name, 0) + 1
        else:
            assert name not in (expected or ()), str(lemma)
    assert all(found.values()), found


@pytest.mark.parametrize("name", CASES)
def test_the_concise_form_equals_the_detailed_one(name: str) -> None:
    check(CASES[name], WITH_FORM.get(name))


@pytest.mark.parametrize("name", sorted(WITHOUT_FORM))
def test_what_is_no_sliding_window_has_no_form(name: str) -> None:
    moving = ("correlate", "convolve", "maxpool", "argmaxpool", "unpool")
    forms = [lemma.concise for _, lemma in lemmas(CASES[name])]
    nodes = [node for form in forms if form for node in walk(form.right) if isinstance(node, Operation)]
    assert not any(node.name in moving for node in nodes)


def test_the_position_of_the_maximum_has_a_form() -> None:
    argmax = CASES["max_pool_overlapping_padded"].derivation.forward.equations[-1]
    form = concise(argmax.target, argmax.value)
    assert form is not None
    values = drawn(argmax.value.tensors)
    assert agree(planes(form, values), detailed([argmax], values))


# --- drawn shapes -------------------------------------------------------------------------------


def read(stride: int, dilation: int, before: int, i: str, p: str) -> str:
    return f"{stride}*{i} + {dilation}*{p}" + (f" - {before}" if before else "")


@st.composite
def axes(draw: st.DrawFn, dilated: bool = True) -> tuple[int, int, int, int, int, int]:
    """(extent, kernel, stride, dilation, padding, outputs), the remainder left over by the stride included."""
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 3)) if dilated else 1
    reach = dilation * (kernel - 1) + 1
    before = draw(st.integers(0, kernel - 1))
    extent = draw(st.integers(max(2, reach - before, kernel), max(2, reach + 5)))
    most = (extent + 2 * before - reach) // stride + 1
    return extent, kernel, stride, dilation, before, max(1, most)


@examples(10, 600)
@given(axes(), axes(), st.integers(1, 2), st.booleans(), st.booleans())
def test_drawn_convolutions(first: Any, second: Any, groups: int, flat: bool, spare: bool) -> None:
    space = [first] if flat else [first, second]
    if spare:
        # The last windows are left out: what no window reads is cut off, and its gradient is 0.
        space = [(*a[:5], max(1, a[5] - 1)) for a in space]
    where = ", ".join(f"{i}<{a[5]}" for i, a in zip("ij", space, strict=False))
    cells = ", ".join(read(a[2], a[3], a[4], i, p) for i, p, a in zip("ij", "pq", space, strict=False))
    window = ", ".join("pq"[: len(space)])
    out, channel = ("g<2, o<2", "2*g + c") if groups == 2 else ("o<2", "c")
    weight = "g, o, c" if groups == 2 else "o, c"
    text = f"y[n, {out}, {where}] = sum[c<2, {_sized(space)}](W[{weight}, {window}]*pad(x, 0)[n, {channel}, {cells}])"
    kernel = tuple(a[1] for a in space)
    shapes = {
        "x": ("N", 2 * groups, *(a[0] for a in space)), "W": (*([2] * (groups - 1)), 2, 2, *kernel),
    }
    check(Case("drawn", text, shapes), {"", "x", "W"})


def _sized(space: list[Any]) -> str:
    return ", ".join(f"{p}<{a[1]}" for p, a in zip("pq", space, strict=False))


@examples(10, 600)
@given(axes(dilated=False), axes(dilated=False), st.sampled_from(["max", "mean"]), st.booleans())
def test_drawn_pools(first: Any, second: Any, kind: str, flat: bool) -> None:
    space = [first] if flat else [first, second]
    where = ", ".join(f"{i}<{a[5]}" for i, a in zip("ij", space, strict=False))
    cells = ", ".join(read(a[2], a[3], a[4], i, p) for i, p, a in zip("ij", "pq", space, strict=False))
    x = "pad(x, -inf)" if kind == "max" else "pad(x, 0)"
    text = f"y[n, c, {where}] = {kind}[{_sized(space)}]({x}[n, c, {cells}])"
    check(Case("drawn", text, {"x": ("N", 2, *(a[0] for a in space))}), {"", "x"})


# --- corrupted forms ----------------------------------------------------------------------------


def changed(form: Form, change: Callable[[Operation], Form]) -> Form:
    """The form with every operation changed, from the inside out."""
    form = rebuilt(form, [changed(part, change) for part in parts(form)])
    return change(form) if isinstance(form, Operation) else form


def with_parameter(form: Operation, name: str, change: Callable[[int], int]) -> Operation:
    own = {**dict(form.parameters), name: tuple(map(change, form[name]))}
    return operation(form.name, *form.of, **own)


def unpadded(form: Operation) -> Form:
    return with_parameter(form, "before", lambda b: b + 1) if form.name == "pad" else form


def unrotated(form: Operation) -> Form:
    """A full correlation in place of the convolution: the kernel not turned round."""
    if form.name != "convolve":
        return form
    around = tuple(length.known or 0 for length in shape(form.of[1]))
    before = tuple(k - 1 for k in around)
    grown = operation("pad", form.of[0], before=before, after=before, value=(Fraction(0),) * len(before))
    return operation("correlate", grown, form.of[1])


def without_zeros(form: Operation) -> Form:
    return form.of[0] if form.name == "up" else form


def without_steps(form: Operation) -> Form:
    return with_parameter(form, "factor", lambda _: 1) if form.name == "down" else form


def misplaced(form: Operation) -> Form:
    return with_parameter(form, "before", lambda b: b - 1) if form.name == "unpool" else form


CORRUPTED = {
    "offset of x": ("conv2d_stride_padding", "x", unpadded),
    "offset of W": ("conv2d_stride_padding", "W", unpadded),
    "unrotated kernel": ("conv2d_stride_padding", "x", unrotated),
    "unrotated kernel, stride 1": ("conv2d_valid", "x", unrotated),
    "no zeros, x": ("conv2d_stride_padding", "x", without_zeros),
    "no zeros, W": ("conv1d_dilated", "W", without_zeros),
    "every entry kept": ("conv1d_dilated", "W", without_steps),
    "no zeros, mean": ("mean_pool_overlapping_padded", "x", without_zeros),
    "place of the maximum": ("max_pool_overlapping_padded", "x", misplaced),
}


@pytest.mark.parametrize("name", CORRUPTED)
def test_a_corrupted_form_is_refused(name: str) -> None:
    case, wrt, change = CORRUPTED[name]
    lemma = next(lemma for tensor, lemma in lemmas(CASES[case]) if tensor == wrt)
    form = lemma.concise
    assert form is not None and holds(form)
    values = data(lemma)
    right = result(lemma, values)
    assert agree(planes(form, values), right)
    wrong = replace(form, right=changed(form.right, change))
    assert wrong != form and not holds(wrong)
    try:
        assert not agree(planes(wrong, values), right)
        line = Line(Subject("other", y=name), "form in planes", form.detailed, wrong.expanded(SAMPLES))
        assert set(SceneCheck(replace(of_lemma(lemma, SAMPLES), lines=(line,))).run(3)) == {0}
    except ShapeError:
        return  # It reads outside its tensors.


@pytest.mark.parametrize("name", [n for n in CASES if "conv" in n or "pool" in n or n == "reshape"])
def test_forms_in_planes_hold_exactly(name: str) -> None:
    rules: list[str] = []
    for _, lemma in lemmas(CASES[name]):
        check = SceneCheck(of_lemma(lemma, SAMPLES))
        rules += [line.rule for line in check.scene.lines]
        assert check.run(3) == {}
    assert ("form in planes" in rules) == (name != "reshape")  # a mixed-radix number leaves no axis whole


# --- what is said -------------------------------------------------------------------------------


def test_the_stride_gives_one_form_for_all_residue_classes() -> None:
    lemma = next(lemma for name, lemma in lemmas(CASES["conv2d_stride_padding"]) if name == "x")
    assert len(lemma.pieces) == 4 and lemma.concise is not None
    names = [n.name if isinstance(n, Operation) else type(n).__name__ for n in walk(lemma.concise.right)]
    assert names == ["Sum", "pad", "convolve", "up", "View", "View"]


def test_exact_numbers_stay_exact() -> None:
    equation = CASES["mean_pool_overlapping_padded"].derivation.forward.equations[0]
    form = concise(equation.target, equation.value)
    assert form is not None
    ones = {"x": np.full((2, 2, 7, 5), Fraction(1), object)}
    found = entries.evaluate(Exact(SAMPLES), form.expanded(SAMPLES), ones, form.target.free)
    assert set(found.flat) == {Fraction(4, 9), Fraction(2, 3), Fraction(1)}


def test_a_window_over_an_open_extent_says_how_far_it_is_padded_only_where_it_knows() -> None:
    case = Case("open", "y[n, i<3] = sum[p](W[p]*pad(x, 0)[n, 2*i + p - 1])", {"x": ("N", "K"), "W": (3,)})
    equation = case.program.equations[0]
    form = concise(equation.target, equation.value)
    assert form is not None
    (pad,) = (node for node in walk(form.right) if isinstance(node, Operation) and node.name == "pad")
    assert pad["before"] == (1,) and pad["after"] == (None,)
    rng = np.random.default_rng(0)
    values = {"x": rng.standard_normal((2, 5)), "W": rng.standard_normal(3)}
    sizes = {"N": 2, "K": 5}
    one = concise_value(form, values, sizes)
    assert np.allclose(one, evaluate(equation.value, values, equation.target.free, extents=sizes))




def test_a_function_of_the_padding_is_no_padding() -> None:
    """exp(0) = 1: outside its range exp of a padded read is not 0."""
    for summand, has in (("exp(pad(x, 0){0})", False), ("exp(pad(x, 0){0})*pad(x, 0){0}", True)):
        text = f"y[n, i<4] = sum[p<3]({summand.format('[n, 2*i + p - 1]')})"
        case = Case("padded", text, {"x": ("N", 7)})
        equation = case.program.equations[0]
        assert (of_planes(concise(equation.target, equation.value)) is not None) == has
        check(case, None)


def test_windows_of_one_cell_over_one_cell_have_forms() -> None:
    text = "y[n, o, i<1] = sum[c<2, p<1](W[o, c, p]*x[n, c, i + p])"
    check(Case("one", text, {"x": ("N", 2, 1), "W": (3, 2, 1)}), {"", "x", "W"})


def test_channels_of_groups_are_no_spatial_axis() -> None:
    """W and the error signal are read at one number of two digits, 2g + o: no window slides over it."""
    text = "y[n, 2*(g<2) + (o<2), i<3] = sum[c<1, p](W[2*g + o, c, p]*pad(x, 0)[n, g, 2*i + p - 1])"
    case = Case("depthwise", text, {"x": ("N", 2, 5), "W": (4, 1, 3)})
    check(case, {"", "x", "W"})
