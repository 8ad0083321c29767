"""A drawn program as chainrule holds it: text that is derived, or a layer of a model."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import chainrule as cr
from chainrule.derivation import Derivation, printable
from chainrule.derive import derive_program
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program as Equations
from tests.drawn.language import TARGET, Equation, N, Number, Program, Read, places, put

Array = NDArray[Any]


@dataclass(frozen=True)
class Fault:
    """What is wrong, by which consumer. Two faults of one `kind` are taken for the same when programs are made
    smaller. `raised` is the bare exception that it is, if it is one."""

    consumer: str
    kind: str
    detail: str = ""
    raised: type[BaseException] | None = None

    def __str__(self) -> str:
        return f"{self.consumer}: {self.kind}" + (f" ({self.detail})" if self.detail else "")


SOURCE = str(Path(cr.__file__).parent)


def crash(consumer: str, error: BaseException) -> Fault:
    """A bare exception, by where in chainrule it was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(SOURCE)]
    place = f" in {Path(frames[-1].filename).name} {frames[-1].name}" if frames else ""
    lines = str(error).splitlines()
    return Fault(consumer, f"{type(error).__name__}{place}", lines[0][:160] if lines else "", type(error))


def dtype(kind: str) -> Any:
    return "integer" if kind == "id" else "real"


@dataclass(frozen=True)
class Subject:
    program: Program
    derivation: Derivation
    model: cr.Model | None
    names: Mapping[str, str]
    """The name in the derivation of what the program is given."""
    open: bool = False
    """Derived by `chainrule.derive`, from the text alone."""
    notes: dict[str, int] = field(default_factory=dict[str, int])
    """What consumers count."""

    def values(self, own: Mapping[str, Array]) -> dict[str, Array]:
        return {self.names[name]: value for name, value in own.items()}

    @cached_property
    def signals(self) -> list[Tensor]:
        """The error signals that the derivation starts from."""
        forward = self.derivation.forward
        known = {*forward.given, *forward.defined}
        return [t for t in self.derivation.joint.inputs if t not in known]

    @property
    def result(self) -> Tensor:
        """The loss, or the output."""
        derived = self.derivation
        return derived.loss if derived.loss is not None else derived.forward.outputs[0]


def expected(e: Equation, drawn: set[str]) -> Equation:
    """The equation with what a mask is on average in its place."""
    mean = Number(Fraction(7, 10))
    for path, node in places(e.value):
        if isinstance(node, Read) and node.name in drawn:
            e = replace(e, value=put(e.value, path, mean))
    return e


def layer_of(program: Program) -> cr.Layer:
    init, state = dict[str, Any](), dict[str, Any]()
    for g in program.given:
        if g.kind == "parameter":
            init[g.name] = cr.normal(0.7, *g.shape)
        elif g.kind == "state":
            state[g.name] = cr.State(g.next, cr.normal(0.7, *g.shape))
        elif g.kind == "random":
            state[g.name] = cr.bernoulli(0.7, *("n" if e == N else e for e in g.shape))
    inputs = sum(g.kind in ("input", "id") for g in program.given)
    members = {"equation": program.text, "init": init, "state": state, "inputs": inputs}
    drawn = {g.name for g in program.given if g.kind == "random"}
    if drawn:
        members["inference"] = replace(program, equations=tuple(expected(e, drawn) for e in program.equations)).text
    return type("Drawn", (cr.Layer,), members)()


def model_of(program: Program, dtype_of: str = "float32") -> cr.Model:
    given = [
        cr.Input(*(int(e) for e in g.shape[1:]), dtype=dtype(g.kind)) for g in program.given
        if g.kind in ("input", "id")
    ]
    output = layer_of(program)(*given)
    return cr.Model(given, output, loss=program.named or program.loss_text, dtype=dtype_of)


def _layer(program: Program) -> Subject:
    model = model_of(program)
    inputs = [g for g in program.given if g.kind in ("input", "id")]
    names = {g.name: "input" if len(inputs) == 1 else f"input{n + 1}" for n, g in enumerate(inputs)}
    names |= {g.name: f"drawn1.{g.name}" for g in program.given if g.name not in names} | {TARGET: "target"}
    return Subject(program, model.derive(), model, names)


def _fits(program: Program, derivation: Derivation) -> bool:
    """Whether the text alone says what was meant: the shapes are those of the program, or named extents for them."""
    shapes, named = {g.name: g.shape for g in program.given}, dict[str, int | str]()
    for t in derivation.forward.given:
        if t.dtype != dtype(next(g.kind for g in program.given if g.name == t.name)):
            return False
        for found, meant in zip(t.shape, shapes[t.name], strict=True):
            if (found if isinstance(found, int) else named.setdefault(found, meant)) != meant:
                return False
    return N not in named or named[N] == N


def _text(program: Program) -> Subject:
    real = [g for g in program.given if g.kind in ("input", "parameter")]
    names = {g.name: g.name for g in program.given}
    if program.seed % 2 == 0:
        read = {r for e in program.equations for r in e.names}
        try:
            derivation = cr.derive(program.text, wrt=[g.name for g in real if g.name in read])
            if _fits(program, derivation):
                return Subject(program, derivation, None, names, True)
        except (cr.EquationError, cr.ShapeError, cr.DerivationError):
            pass  # shapes that the text does not say: they are declared below
    tensors = {g.name: Tensor(g.name, g.shape, dtype(g.kind)) for g in program.given}
    equations = tuple(parse_program(program.text, tensors=tensors))
    whole = Equations(equations, inputs=tuple(tensors.values()), outputs=(equations[-1].tensor,))
    return Subject(program, printable(derive_program(whole, None, [tensors[g.name] for g in real])), None, names)


def subject(program: Program) -> Subject:
    """Derive it. Raises what chainrule raises."""
    return _layer(program) if program.form == "layer" else _text(program)


def extents_of(subject: Subject, samples: int) -> dict[str, int]:
    """Named extents and their values."""
    shapes = {g.name: g.shape for g in subject.program.given}
    extents = {N: samples}
    own = {v: k for k, v in subject.names.items()}
    for t in subject.derivation.forward.given:
        for found, meant in zip(t.shape, shapes[own[t.name]], strict=True):
            if isinstance(found, str) and found != N:
                extents[found] = samples if meant == N else int(meant)
    return extents
