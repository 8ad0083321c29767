"""What a checked line is about, as data: a document says it in its own language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["lemma", "composite", "fold", "form", "written", "gradients", "program", "step", "loops", "other"]

ENGLISH: dict[Kind, str] = {
    "lemma": "∂{x} in {y}",
    "composite": "composite {number}, {form}",
    "fold": "∂{x} by all of {y}",
    "form": "{y} itself",
    "written": "∂{x} as {y} is written",
    "gradients": "all gradients together",
    "program": "the program that runs: {y}",
    "step": "the step of {rule}: {y}",
    "loops": "the loops of a step, {number} kernels",
    "other": "{y}",
}
"""For errors and the command line, which speak English."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A lemma by `x` of `y`; a composite by its number and form; a fold from `y` to `x`; the concise form of `y`, or a
    derivative by `x` that y is written with; all gradients; the value `y` of the program that runs, or of an
    optimizer's step by its `rule`; the loops of a step by the `number` of their kernels. `cut` is the greatest extent
    where a step is checked at smaller ones."""

    kind: Kind
    x: str = ""
    y: str = ""
    number: int = 0
    form: str = ""
    rule: str = ""
    one_sample: bool = False
    cut: int = 0

    def __str__(self) -> str:
        text = ENGLISH[self.kind].format(x=self.x, y=self.y, number=self.number, form=self.form, rule=self.rule)
        text += f", at extents of at most {self.cut}" if self.cut else ""
        return f"{text}, one sample" if self.one_sample else text


@dataclass(frozen=True, slots=True)
class Shapes:
    """The extents at which a subject was checked, tensor by tensor."""

    subject: Subject
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    reduced: bool = False

    @property
    def extents(self) -> str:
        """x 2×8×8, W 2×2×5×5"""
        return ", ".join(f"{name} {'×'.join(map(str, shape)) or '1'}" for name, shape in self.tensors)

    def __str__(self) -> str:
        return f"{self.subject}: {self.extents}" + (" (reduced)" if self.reduced else "")
