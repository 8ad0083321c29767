"""How each array library spells what a statement says: NumPy, JAX and PyTorch. What is computed they have no say in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chainrule.ir.functions import CATALOGUE

_LOGSUMEXP = (
    "def logsumexp(u, axis):\n    top = u.max(axis, keepdims=True)\n"
    "    return np.log(np.exp(u - top).sum(axis)) + top.squeeze(axis)"
)


@dataclass(frozen=True)
class NumPy:
    """`calls` are the functions of the catalogue by their name in the library, `helpers` the definitions of those that
    it has no word for. `like` is a real array of those given, whose type what is made of numbers takes."""

    name: str = "NumPy"
    prefix: str = "np"
    imports: tuple[str, ...] = ("import numpy as np",)
    typed: bool = False
    """Whether brackets and whole numbers become real by a word; else they do where they meet a number."""
    axis: str = "axis"
    reductions: Mapping[str, str] | None = None

    @property
    def calls(self) -> Mapping[str, str]:
        known = {n: n if f.listing else f"np.{f.numpy or n}" for n, f in CATALOGUE.items() if n != "step"}
        return {**known, "logsumexp": "logsumexp"}

    @property
    def helpers(self) -> Mapping[str, str]:
        return {**{name: f.listing for name, f in CATALOGUE.items() if f.listing}, "logsumexp": _LOGSUMEXP}

    def reduction(self, kind: str) -> str:
        return (self.reductions or {}).get(kind, kind)

    def real(self, text: str, like: str) -> str:
        """A bracket, or whole numbers, as real numbers."""
        return f"1.0 * {text}"

    def zeros(self, shape: str, like: str, *, integer: bool = False) -> str:
        return f"np.zeros({shape}{', int' if integer else ''})"

    def full(self, shape: str, value: str, like: str, *, integer: bool, number: bool) -> str:
        """An array of one value, which is a number of Python's or an array without axes."""
        return f"np.full({shape}, {value}{'' if integer else ', float'})"

    def scalar(self, text: str, like: str) -> str:
        """A number of Python's as what a gradient may be."""
        return text

    def put(self, name: str, index: str, value: str) -> str:
        return f"{name}[{index}] = {value}"

    def add_at(self, name: str, places: Sequence[str], terms: str) -> str:
        """Each term added at whole numbers."""
        index = places[0] if len(places) == 1 else f"({', '.join(places)})"
        return f"np.add.at({name}, {index}, {terms})"

    def grid(self, words: Sequence[str], extents: Sequence[str], like: str) -> str:
        """Whole numbers along an axis for each word."""
        if len(words) == 1:
            return f"{words[0]} = {self.prefix}.arange({extents[0]})"
        return f"{', '.join(words)} = {self.prefix}.ogrid[{', '.join(f':{e}' for e in extents)}]"

    def pad(self, text: str, widths: Sequence[tuple[int, int]], fill: str) -> str:
        value = "" if fill == "0" else f", constant_values={fill}"
        around = f"({', '.join(map(str, widths))}{',' if len(widths) == 1 else ''})"
        return f"{self.prefix}.pad({text}, {around}{value})"

    def transpose(self, order: Sequence[int]) -> str:
        return f".transpose({', '.join(map(str, order))})"

    def extreme(self, function: str, arguments: Sequence[str], numbers: Sequence[bool]) -> str:
        """max or min of two, of which one may be a number of Python's."""
        return f"{self.calls[function]}({', '.join(arguments)})"

    def where(self, condition: str, one: str, other: str, like: str, *, numbers: bool) -> str:
        return f"{self.prefix}.where({condition}, {one}, {other})"


class JAX(NumPy):
    """Arrays do not change: what is put into one is another."""

    @property
    def calls(self) -> Mapping[str, str]:
        known = {name: f"jnp.{f.numpy or name}" for name, f in CATALOGUE.items()}
        neural = {name: f"jax.nn.{name}" for name in ("sigmoid", "relu", "softplus", "logsumexp")}
        return {**known, **neural, **{name: f"jax.scipy.special.{name}" for name in ("erf", "erfc")}}

    @property
    def helpers(self) -> Mapping[str, str]:
        return {}

    def zeros(self, shape: str, like: str, *, integer: bool = False) -> str:
        return f"jnp.zeros({shape}, {'int' if integer else f'{like}.dtype'})"

    def full(self, shape: str, value: str, like: str, *, integer: bool, number: bool) -> str:
        return f"jnp.full({shape}, {value}, {'int' if integer else f'{like}.dtype'})"

    def scalar(self, text: str, like: str) -> str:
        return f"jnp.asarray({text}, {like}.dtype)"

    def put(self, name: str, index: str, value: str) -> str:
        return f"{name} = {name}.at[{index}].set({value})"

    def add_at(self, name: str, places: Sequence[str], terms: str) -> str:
        return f"{name} = {name}.at[{', '.join(places)}].add({terms})"


class Torch(NumPy):
    """What is made of numbers takes the type and the device of an array given, and brackets become numbers by a word:
    a bracket times a number of Python's would be of the default type."""

    @property
    def calls(self) -> Mapping[str, str]:
        known = {name: f"torch.{f.numpy or name}" for name, f in CATALOGUE.items()}
        return {**known, "softplus": "softplus", "logsumexp": "torch.logsumexp"}

    @property
    def helpers(self) -> Mapping[str, str]:
        # torch.nn.functional.softplus is the identity from 20 on, where 2e-9 is missing.
        return {"softplus": "def softplus(u):\n    return torch.logaddexp(u, torch.zeros_like(u))"}

    def real(self, text: str, like: str) -> str:
        return f"{text}.to({like})"

    def zeros(self, shape: str, like: str, *, integer: bool = False) -> str:
        return f"{like}.new_zeros({shape}{', dtype=int' if integer else ''})"

    def full(self, shape: str, value: str, like: str, *, integer: bool, number: bool) -> str:
        if not number:
            return f"torch.broadcast_to({value}, {shape})"
        return f"{like}.new_full({shape}, {value}{', dtype=int' if integer else ''})"

    def scalar(self, text: str, like: str) -> str:
        return f"{like}.new_tensor({text})"

    def add_at(self, name: str, places: Sequence[str], terms: str) -> str:
        return f"{name}.index_put_(({', '.join(places)}{',' if len(places) == 1 else ''}), {terms}, accumulate=True)"

    def grid(self, words: Sequence[str], extents: Sequence[str], like: str) -> str:
        ranges = [f"torch.arange({e}, device={like}.device)" for e in extents]
        columns = [f"[:{', None' * (len(words) - 1 - n)}]" if n < len(words) - 1 else "" for n in range(len(words))]
        return f"{', '.join(words)} = {', '.join(r + c for r, c in zip(ranges, columns, strict=True))}"

    def pad(self, text: str, widths: Sequence[tuple[int, int]], fill: str) -> str:
        around = ", ".join(f"{before}, {after}" for before, after in reversed(widths))
        return f"torch.nn.functional.pad({text}, ({around}){'' if fill == '0' else f', value={fill}'})"

    def transpose(self, order: Sequence[int]) -> str:
        return f".permute({', '.join(map(str, order))})"

    def extreme(self, function: str, arguments: Sequence[str], numbers: Sequence[bool]) -> str:
        if all(numbers):
            return f"{function}({', '.join(arguments)})"
        if not any(numbers):
            return f"{self.calls[function]}({', '.join(arguments)})"
        bound, of = arguments if numbers[0] else arguments[::-1]
        return f"torch.clamp({of}, {'min' if function == 'max' else 'max'}={bound})"

    def where(self, condition: str, one: str, other: str, like: str, *, numbers: bool) -> str:
        if numbers:
            one = self.scalar(one, like)
        return f"torch.where({condition}, {one}, {other})"


NUMPY = NumPy()
JAX_NUMPY = JAX("JAX", "jnp", ("import jax", "import jax.numpy as jnp"))
TORCH = Torch("PyTorch", "torch", ("import torch",), typed=True, axis="dim", reductions={"max": "amax"})
