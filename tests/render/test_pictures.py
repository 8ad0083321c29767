"""Pictures of convolution, Jacobians and normalisation: their numbers are read from the page, as a reader sees them,
and compared with JAX, which differentiates by itself."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.built_in import document

from chainrule.render.build import build
from chainrule.render.document import Figure
from chainrule.render.formula import Formula, write
from chainrule.render.html import render
from chainrule.render.styles import UNICODE
from chainrule.train.alone import alone

jax.config.update("jax_enable_x64", True)
SPOT = re.compile(r'<span class="spot" style="[^"]*">(.*?)</span>(?=<span class="(?:spot|label)"|</div>)')


def page(name: str, lang: str = "en") -> str:
    model = alone(name)
    assert model is not None
    return render(build(model.derive(), lang, "standard"))


def pictures(source: str) -> list[list[str]]:
    """Of each drawing on a page its spots, in one line each: x̄0⋆W00=[0,1;2,3]⋆[1,2;3,4]."""
    found = re.findall(r'<div class="drawing".*?</figure>', source, re.DOTALL)
    return [[line(spot) for spot in SPOT.findall(drawing)] for drawing in found]


def line(markup: str) -> str:
    markup = re.sub(r"<mfrac><mn>(\d+)</mn><mn>(\d+)</mn></mfrac>", r"\1/\2", markup)
    markup = markup.replace("</mtr><mtr>", ";").replace("</mtd><mtd>", ",")
    return re.sub(r"<[^>]*>|\s", "", markup).replace("−", "-")


def arrays(text: str) -> list[np.ndarray]:
    """The matrices and columns in a line, in their order."""
    found = re.findall(r"\[([-\d.,;/]+)\]|\((-?\d[-\d.,/]*)\)", text)
    return [
        np.array([[float(Fraction(v)) for v in row.split(",")] for row in matrix.split(";")]) if matrix
        else np.array([float(Fraction(v)) for v in column.split(",")])
        for matrix, column in found
    ]


def convolution(spots: list[str]) -> list[str]:
    """What is wrong in a picture of two planes, two kernels and their result, forward and then backward."""
    planes, kernels = zip(*(arrays(spot) for spot in (*spots[:2], *spots[3:5])), strict=True)
    (u,), (gradient,) = arrays(spots[2]), arrays(spots[5])

    def slide(plane: Any, kernel: Any, pad: int = 0) -> Any:
        return jax.lax.conv_general_dilated(plane[None, None], kernel[None, None], (1, 1), [(pad, pad)] * 2)[0, 0]

    def loss(x: Any) -> Any:
        """Of the first plane, with the error signals that are drawn."""
        return sum((planes[n][1:-1, 1:-1] * slide(x, kernels[n][::-1, ::-1], 1)).sum() for n in (2, 3))

    wrong = [] if np.allclose(slide(planes[0], kernels[0]) + slide(planes[1], kernels[1]), u) else ["forward"]
    if not np.array_equal(kernels[0], kernels[2][::-1, ::-1]):
        wrong.append("not rotated")
    return wrong if np.allclose(jax.grad(loss)(planes[0][1:-1, 1:-1]), gradient) else [*wrong, "backward"]


def jacobian(spots: list[str], function: Any, x: list[float]) -> bool:
    """Whether the matrix, the gradient it takes and what comes out are right at x."""
    matrix, signal, result = arrays(spots[0])
    own = jax.jacobian(function)(jnp.array(x))
    return np.allclose(matrix, own.T, atol=1e-4) and np.allclose(own.T @ signal, result, rtol=1e-3)


def normalisation(spots: list[str], axis: int, gain: Any) -> list[str]:
    """What is wrong in a picture of values normalised along an axis."""
    x, normal, y, signal = arrays(spots[0])
    numbers = arrays(spots[1])
    factor, numbers = (numbers[0], numbers[1:]) if len(numbers) == 5 else (_factor(spots[1]), numbers)
    scaled, total, projected, result = numbers if len(numbers) == 4 else (numbers[0], _number(spots[1]), *numbers[1:])

    def normalised(x: Any) -> Any:
        from_mean = x - x.mean(axis, keepdims=True)
        return from_mean / jnp.sqrt((from_mean**2).mean(axis, keepdims=True) + 1e-5)

    def loss(x: Any) -> Any:
        return (signal * gain * normalised(x)).sum()

    seen = {
        "normalised": (normal, normalised(x)), "output": (y, gain * normalised(x) + np.array([0, -1, 1])),
        "gradient": (result, jax.grad(loss)(x)),
        "terms": (factor * (scaled - total - projected), result),
    }
    return [key for key, (own, true) in seen.items() if not np.allclose(own, true, atol=2e-3 * np.abs(true).max())]


def _factor(text: str) -> float:
    found = re.search(r"=(-?[\d./]+)·", text)
    assert found is not None
    return float(Fraction(found[1]))


def _number(text: str) -> float:
    """The number between two columns."""
    found = re.search(r"\)-(-?[\d./]+)-\(", text)
    assert found is not None
    return float(Fraction(found[1]))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_convolution_is_drawn_with_its_kernel_and_backward_with_the_rotated_one(lang: str) -> None:
    (spots,) = pictures(page("Conv2d", lang))
    assert len(spots) == 6 and convolution(spots) == []
    for place, fault in ((2, "forward"), (3, "not rotated"), (5, "backward")):
        last = max(n for n, c in enumerate(spots[place]) if c.isdigit())
        other = spots[place][:last] + str(9 - int(spots[place][last])) + spots[place][last + 1 :]
        assert fault in convolution([*spots[:place], other, *spots[place + 1 :]])


def test_the_jacobian_of_softmax_takes_the_gradient_back() -> None:
    for name, function in (("Softmax", jax.nn.softmax), ("LogSoftmax", jax.nn.log_softmax)):
        source = page(name)
        x = arrays(line(source.partition("Worked by hand")[2].partition("<table")[0]))[0].tolist()
        spots = next(own for own in pictures(source) if len(own) == 1)
        assert jacobian(spots, function, x)
        assert not jacobian(spots, lambda x: x**2, x) and not jacobian(spots, function, [1.5 * v for v in x])


def test_a_normalisation_is_drawn_with_the_terms_of_its_gradient() -> None:
    for name, axis, gain in (("BatchNorm", 0, np.array([1, 2, 1])), ("LayerNorm", -1, np.array([1, 2, 1]))):
        spots = next(own for own in pictures(page(name)) if len(own) == 2)
        assert normalisation(spots, axis, gain) == []
        assert "gradient" in normalisation(spots, axis, 3 - gain)
        assert "terms" in normalisation([spots[0], spots[1].replace("=", "=2", 1).replace("=2[", "=[2")], axis, gain)


def test_a_network_of_many_layers_has_no_small_pictures() -> None:
    """Its document is about the whole of it; the pictures stand in those of one layer."""
    of_many = [block for block in document("lenet", "en").blocks if isinstance(block, Figure)]
    assert of_many and not any("⋆" in write(f, UNICODE) for block in of_many for t in block.texts for f in t
                               if isinstance(f, Formula))
    assert "⋆" in "".join(pictures(page("Conv1d"))[0])
