"""Every matrix form equals its component form, evaluated by two evaluators that share nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chainrule.derive import Lemma
from chainrule.derive.lemma import Piece
from chainrule.derive.matrix import Matrix, Product, Symbol, Transpose, evaluate, recognise
from chainrule.errors import ShapeError
from chainrule.evaluate import numpy as executor
from chainrule.evaluate.functions import FUNCTIONS
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Index
from tests.derive.cases import CASES
from tests.derive.test_checklist import mlp

EXTENTS = {"N": 3}
# What has a matrix form, for a batch or for one sample; a case that loses its form turns the test red.
WITH_FORM = {
    "dense", "sigmoid", "tanh", "relu", "max_of_two", "softplus", "softmax", "logsumexp", "u_plus_u", "silu",
    "quotient", "mean", "quadratic_form", "residual", "shared_weight", "mse_and_decay", "cross_entropy", "log",
}


def forms(lemma: Lemma) -> list[tuple[Piece, tuple[Index, ...], Matrix]]:
    """The pieces of a lemma, and of its one-sample form, that have a matrix form."""
    found: list[tuple[Piece, tuple[Index, ...], Matrix]] = []
    for shown in (lemma, lemma.sample):
        for piece in shown.pieces if shown is not None else ():
            target = [s.plain for s in piece.equation.target.subscripts]
            indices = tuple(i for i in target if i is not None)
            form = recognise(piece.equation.value, indices) if len(indices) == len(target) else None
            if form is not None:
                found.append((piece, indices, form))
    return found


def values(piece: Piece, seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    result: dict[str, NDArray[Any]] = {}
    for tensor in piece.equation.value.tensors:
        shape = tuple(EXTENTS[e] if isinstance(e, str) else e for e in tensor.shape)
        result[tensor.name] = rng.uniform(0.5, 2, shape)
    return result


@pytest.mark.parametrize("name", CASES)
def test_the_concise_form_equals_the_detailed_one(name: str) -> None:
    seen = 0
    for gradient in CASES[name].derivation.parts.values():
        for use in gradient.uses:
            for piece, indices, form in forms(use.instance):
                given = values(piece, seen)
                detailed = executor.evaluate(piece.equation.value, given, indices, extents=EXTENTS)
                concise = evaluate(form, given, functions=FUNCTIONS, extents=EXTENTS)
                assert concise.shape == (*detailed.shape, 1, 1)[:2]
                assert np.allclose(concise.reshape(detailed.shape), detailed, rtol=1e-12)
                assert tuple(EXTENTS.get(str(e), e) for e in form.shape) == concise.shape
                seen += 1
    assert (seen > 0) >= (name in WITH_FORM)


def test_every_line_of_an_mlp_has_a_concise_form() -> None:
    for gradient in mlp(3).parts.values():
        for use in gradient.uses:
            assert forms(use.instance), str(use.instance)


def test_a_form_with_a_transpose_swapped_is_told_apart() -> None:
    lemma = next(iter(CASES["shared_weight"].derivation.parts.values())).uses[0].instance
    piece, indices, form = forms(lemma)[0]
    given = values(piece, 1)
    detailed = executor.evaluate(piece.equation.value, given, indices, extents=EXTENTS)
    assert isinstance(form, Product)
    swapped = evaluate(Transpose(form), given, functions=FUNCTIONS, extents=EXTENTS)
    assert not np.allclose(swapped, detailed)


def test_shapes_that_do_not_fit_make_no_product() -> None:
    a, b = Symbol(Tensor("a", (2, 3))), Symbol(Tensor("b", (2, 3)))
    assert Product(a, Transpose(b)).shape == (2, 2)
    with pytest.raises(ShapeError, match="2×3"):
        Product(a, b)
