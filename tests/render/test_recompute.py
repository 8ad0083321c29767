"""A reader who has the document alone can recompute its example: its text is all that these tests read of chainrule.

The networks are written here once more, in JAX, which differentiates them by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.built_in import derived

from chainrule.train.alone import alone

jax.config.update("jax_enable_x64", True)
Values = Mapping[str, Any]
VULGAR = dict(zip("½⅓⅔¼¾⅛", (1 / 2, 1 / 3, 2 / 3, 1 / 4, 3 / 4, 1 / 8), strict=True))


# --- reading -------------------------------------------------------------------------------------


def number(text: str) -> float:
    """−3/8, ½, 8.963 · 10^(−16)."""
    text = text.replace("−", "-").strip().strip("()")
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    if text in VULGAR:
        return sign * VULGAR[text]
    if " · 10" in text:
        mantissa, exponent = text.split(" · 10")
        return sign * float(mantissa) * 10.0 ** int(exponent.translate(RAISED).strip("^()"))
    above, _, below = text.partition("/")
    return sign * float(above) / float(below or 1)


RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def array(text: str) -> np.ndarray:
    """(1, 2), [1, 2; 3, 4], or one number."""
    if text[0] not in "([":
        return np.array(number(text))
    rows = [[number(entry) for entry in row.split(", ")] for row in text[1:-1].split("; ")]
    return np.array(rows if text[0] == "[" else rows[0])


def parted(text: str) -> list[str]:
    """The text at its semicolons outside brackets."""
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == ";" and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


@dataclass
class Page:
    """What a document's example gives and says: arrays by symbol; numbers of components, and of whole tensors."""

    given: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    entries: list[tuple[str, tuple[int, ...], float]] = field(default_factory=list[tuple[str, tuple[int, ...], float]])
    tensors: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])


def read(text: str) -> Page:
    """The example of a document in one long line a row. A gradient has the symbol of what it is by, behind a ∂."""
    page = Page()
    lines = text.replace("\u00a0", " ").split("\n")
    start = lines.index("A worked example")
    _, given, *_ = (line for line in lines[start + 2 :] if line)
    for entry in parted(given):
        if found := re.fullmatch(r"(\S+): ([\d×]+), row by row (\(.*?\))(?:, over and over)?", entry):
            page.given[found[1]] = np.resize(array(found[3]), [int(n) for n in found[2].split("×")])
        else:
            symbol, values = entry.split(" = ")
            page.given[_gradient(symbol)] = array(values)
    pictured: list[tuple[str, np.ndarray]] = []
    for line in lines[start:]:
        if line in ("The algorithm on one page", "The lemmas"):
            break
        if line.startswith("    ") and "─" not in line:
            parts = [entry.split(" = ") for entry in parted(line)]
            pictured += [(_gradient(symbol), array(values)) for symbol, *_, values in parts]
        cells = [cell.strip() for cell in line.split(" │")]
        if len(cells) != 3 or cells[0] == "line":
            continue
        if "=" in cells[1]:
            target, *_, value = re.split(r" [=≈] ", cells[1])
            symbol, places = _component(target)
            page.entries.append((symbol, places, number(value)))
        if "=" in cells[2]:
            symbol, values = cells[2].split(" = ")
            page.tensors[_gradient(symbol)] = array(values)
    # Of what a picture shows, the table works out a component where it is computed.
    worked = {symbol for symbol, *_ in page.entries}
    for symbol, values in pictured:
        (page.tensors if symbol.lower() in worked else page.given)[symbol] = values
    return page


def _gradient(symbol: str) -> str:
    """∇_{W^[2]} ℓ, ∇_x ℓ and δ^[2] as ∂W^[2], ∂x and ∂u^[2]."""
    if symbol.startswith("δ"):
        return "∂u" + symbol[1:]
    found = re.fullmatch(r"∇_\{?(.*?)\}? [ℓ𝓛f]", symbol)
    return f"∂{found[1]}" if found else symbol


def _component(text: str) -> tuple[str, tuple[int, ...]]:
    """∂ℓ/∂W^[2]_01 as ∂W^[2] at (0, 1); y^(3)_0 has the number of its sample first."""
    text, partial = (text.split("/∂")[1], "∂") if "/∂" in text else (text, "")
    stem, _, foot = text.rpartition("_") if "_" in text else (text, "", "")
    sample = re.search(r"\((\d+)\)$", stem)
    stem = stem[: sample.start()].removesuffix("^") if sample else stem
    places = ([int(sample[1])] if sample else []) + [int(n) for n in re.findall(r"\d", foot)]
    return (_gradient(stem) if stem.startswith("δ") else partial + stem), tuple(places)


# --- recomputing ---------------------------------------------------------------------------------

Network = Callable[[Values, Values], tuple[Any, Values]]
"""From what is given and a shift of every value in between, the scalar at the end and the values."""


def recomputed(network: Network, given: Values) -> dict[str, np.ndarray]:
    """Every value and, behind a ∂, the gradient by it and by all that is given."""
    real = {name: jnp.asarray(value) for name, value in given.items()}
    shapes = jax.eval_shape(lambda own: network(own, {})[1], real)
    shifts = {name: jnp.zeros(value.shape) for name, value in shapes.items()}
    slopes = jax.jit(jax.value_and_grad(network, argnums=(0, 1), has_aux=True))
    (_, values), (by_given, by_value) = slopes(real, shifts)
    gradients = {f"∂{name}": np.asarray(g) for name, g in {**by_given, **by_value}.items()}
    return {**{name: np.asarray(value) for name, value in values.items()}, **gradients}


def dense(given: Values, layer: int, x: Any) -> Any:
    return given[f"W^[{layer}]"] @ x + given[f"b^[{layer}]"]


def mlp(given: Values, shifts: Values) -> tuple[Any, Values]:
    values: dict[str, Any] = {}

    def let(name: str, value: Any) -> Any:
        values[name] = value + shifts.get(name, 0)
        return values[name]

    u1 = let("u^[1]", dense(given, 1, given["x"]))
    z1 = let("z^[1]", 1 / (1 + jnp.exp(-u1)))
    u2 = let("u^[2]", dense(given, 2, z1))
    let("p", jnp.exp(u2) / jnp.exp(u2).sum())
    return let("ℓ", jnp.log(jnp.exp(u2).sum()) - given["t"] @ u2), values | {"𝓛": values["ℓ"]}


def convolved(given: Values, layer: int, x: Any, pad: int) -> Any:
    """u_ohw = Σ W_ocpq x_c,h+p,w+q + b_o, where x is 0 outside."""
    u = jax.lax.conv_general_dilated(x[None], given[f"W^[{layer}]"], (1, 1), [(pad, pad)] * 2)[0]
    return u + given[f"b^[{layer}]"][:, None, None]


def windows(x: Any) -> Any:
    """The four entries of each 2×2 window, along the first axis."""
    return jnp.stack([x[:, p::2, q::2] for p in (0, 1) for q in (0, 1)])


def lenet(given: Values, shifts: Values) -> tuple[Any, Values]:
    values: dict[str, Any] = {}

    def let(name: str, value: Any) -> Any:
        values[name] = value + shifts.get(name, 0)
        return values[name]

    z1 = let("z^[1]", jnp.maximum(let("u^[1]", convolved(given, 1, given["x"], 2)), 0))
    first = windows(z1).argmax(axis=0)  # of equal entries the first has the whole gradient
    y1 = let("y^[1]", jnp.take_along_axis(windows(z1), first[None], axis=0)[0])
    z2 = let("z^[2]", jnp.maximum(let("u^[2]", convolved(given, 2, y1, 0)), 0))
    y2 = let("y^[2]", windows(z2).mean(axis=0))
    z3 = let("z^[3]", jnp.maximum(let("u^[3]", dense(given, 3, y2.ravel())), 0))
    z4 = let("z^[4]", jnp.maximum(let("u^[4]", dense(given, 4, z3)), 0))
    u5 = let("u^[5]", dense(given, 5, z4))
    let("p", jnp.exp(u5) / jnp.exp(u5).sum())
    loss = let("ℓ", jnp.log(jnp.exp(u5).sum()) - given["t"] @ u5)
    return loss, values | {"𝓛": loss, "m*^[1]": first}


def batch_norm(given: Values, shifts: Values) -> tuple[Any, Values]:
    x = given["X"]
    mean, variance = x.mean(axis=0), ((x - x.mean(axis=0)) ** 2).mean(axis=0)
    root = jnp.sqrt(variance + 1e-5)
    normal = (x - mean) / root
    y = given["γ"] * normal + given["β"]
    values = {"μ": mean, "v": variance, "Y": y, "y": y, "σ": root, "X̂": normal, "x̂": normal}
    return (given["∂Y"] * y).sum(), values


@cache
def page(name: str) -> Page:
    model = alone(name)
    derivation = model.derive() if model else derived(name)
    return read(derivation.to_text(width=100_000))


def wrong(page: Page, network: Network) -> set[str]:
    """What the page says and the network does not."""
    found = recomputed(network, page.given)
    found |= {f"∂{name.lower()}": found[f"∂{name}"] for name in ("X",) if f"∂{name}" in found}
    said = [*((name, found[name][places], value) for name, places, value in page.entries),
            *((name, found[name].reshape(value.shape), value) for name, value in page.tensors.items())]
    return {name for name, own, value in said if not np.allclose(own, value, rtol=6e-4, atol=1e-12)}


@pytest.mark.parametrize(("name", "network"), [("mlp", mlp), ("lenet", lenet), ("BatchNorm", batch_norm)])
def test_the_example_is_recomputed_from_the_document_alone(name: str, network: Network) -> None:
    own = page(name)
    assert len(own.entries) > 5 and len(own.tensors) > 5
    assert wrong(own, network) == set()


def test_a_wrong_number_in_the_document_is_found() -> None:
    own = page("mlp")
    given = {**own.given, "W^[1]": own.given["W^[1]"] + np.array([[0, 0], [0, 1]])}
    assert {"u^[1]", "∂W^[2]"} <= wrong(Page(given, own.entries, own.tensors), mlp)
    said = {**own.tensors, "∂x": own.tensors["∂x"] * 1.01}
    assert wrong(Page(own.given, own.entries, said), mlp) == {"∂x"}


def test_no_gradient_of_a_normalisation_vanishes() -> None:
    """Of three samples all gradients by x would lie along one line; there are four, of full rank after the two that
    every normalisation takes out."""
    own = page("BatchNorm")
    assert own.given["X"].shape == (4, 3)
    gradient = own.tensors["∂X"]
    assert np.linalg.matrix_rank(gradient, tol=1e-2) > 1 and (np.abs(gradient).max(axis=0) > 0.1).all()
