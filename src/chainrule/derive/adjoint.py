"""The adjoint pass: from a forward program to its backward program, one lemma per use of a tensor.

The equations of the backward program are the last lines of the lemmas, and one line that adds the
contributions where a tensor is used more than once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Protocol

from chainrule.derive.calculus import position_of
from chainrule.derive.coupling import Coupling, coupling
from chainrule.derive.lemma import Lemma, adjoint_of, carried, derive_lemma, zero_gradient
from chainrule.derive.trace import Step
from chainrule.derive.written import Evaluation, evaluated
from chainrule.errors import DerivationError, EquationError
from chainrule.ir.check import check_program
from chainrule.ir.expr import LOSS, ONE, USE, Component, Expr, Tensor, add, derived
from chainrule.ir.names import nearest
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Equation, Program, averaged, reads
from chainrule.ir.source import lines, shorten
from chainrule.ir.walk import Key

if TYPE_CHECKING:
    from chainrule.derive.fold import Fold


@dataclass(frozen=True)
class Use:
    """One use of a tensor: the lemma it cites, the substitution of its tensors, gradients and saved positions among
    them, and the equations that come out."""

    equation: Equation
    tensor: Tensor
    lemma: Lemma
    mapping: Mapping[Tensor, Tensor]
    equations: tuple[Equation, ...]

    @property
    def contribution(self) -> Tensor:
        """The tensor that receives this use's share of the gradient."""
        return self.equations[0].tensor

    def __repr__(self) -> str:
        return f"<use of {self.tensor.name} in {self.equation.tensor.name}: {self.lemma!r}>"

    @cached_property
    def instance(self) -> Lemma:
        """The cited lemma written in the tensors of this use."""
        return carried(self.lemma, self.mapping)


@dataclass(frozen=True)
class Gradient:
    """The gradient of one tensor: its uses, and the line that adds them where there are several."""

    tensor: Tensor
    uses: tuple[Use, ...]
    sum: Equation | None

    def __repr__(self) -> str:
        uses = f"{len(self.uses)} use{'s' * (len(self.uses) != 1)}"
        return f"<gradient of {self.tensor.name} by {uses} in {len(self.steps)} steps; print it>"

    def __str__(self) -> str:
        """The trace of every use, and the line that adds them."""
        parts = [str(use.instance) for use in self.uses] + ([str(self.sum)] if self.sum else [])
        return "\n\n".join(parts)

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for use in self.uses for step in use.lemma.all_steps)


@dataclass(frozen=True)
class Derivation:
    """The whole back-propagation of a program.

    `forward` is the program with the auxiliary equations (arg-max positions) that the backward pass
    reads; `backward` its adjoint; `joint` both, ready to run. `gradients` maps the name of each tensor
    asked for to its gradient tensor. `layers` maps tensor names to the layers they belong to, and `letters` some of
    them, and numbers, to what they are written as. `evaluations` are the derivatives that the equations were written
    with; `forward` has their results.
    """

    forward: Program
    backward: Program
    parts: Mapping[str, Gradient]
    gradients: Mapping[str, Tensor]
    loss: Tensor | None
    layers: Mapping[str, str] = field(default_factory=dict[str, str])
    evaluations: tuple[Evaluation, ...] = ()
    letters: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def joint(self) -> Program:
        outputs = tuple(dict.fromkeys((*self.forward.outputs, *self.backward.outputs)))
        signals = tuple(t for t in self.backward.inputs if t not in (*self.forward.given, *self.forward.defined))
        return Program(
            (*self.forward.equations, *self.backward.equations),
            (*self.forward.inputs, *signals), self.forward.parameters, self.forward.random, self.forward.states,
            outputs,
        )

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """Every use in the order of the backward pass: equation by equation, its parameters first."""
        order = {e.tensor: n for n, e in enumerate(self.forward.equations)}
        found = [(use, place) for place, part in enumerate(self.parts.values()) for use in part.uses]
        found.sort(key=lambda u: (-order[u[0].equation.tensor], u[0].tensor not in self.forward.parameters, u[1]))
        return tuple(use for use, _ in found)

    @cached_property
    def lemmas(self) -> tuple[Lemma, ...]:
        """One lemma of each kind, in the order in which the backward pass first needs them."""
        first: dict[Key, Lemma] = {}
        for use in self.uses:
            first.setdefault(use.lemma.kind, use.lemma)
        return tuple(first.values())

    @cached_property
    def coupling(self) -> Coupling:
        """Where samples couple, and which lemmas therefore have no lines for one sample."""
        return coupling(self.forward, self.loss, frozenset(part.tensor for part in self.parts.values()))

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """The layers whose gradient is one formula."""
        from chainrule.derive.fold import folds  # it puts together what is derived here

        return folds(self)

    def sample(self, use: Use) -> Lemma | None:
        """The lemma of a use for one sample, where that is true."""
        return None if use.equation in self.coupling.below else use.lemma.sample

    def sample_of(self, lemma: Lemma) -> Lemma | None:
        """A lemma for one sample, where it is cited so."""
        return lemma.sample if lemma.kind in self._for_one else None

    @cached_property
    def _for_one(self) -> frozenset[Key]:
        return frozenset(use.lemma.kind for use in self.uses if use.equation not in self.coupling.below)

    def number(self, lemma: Lemma) -> int:
        """The number, from 1, by which the document cites a lemma's kind."""
        return next(n for n, other in enumerate(self.lemmas, 1) if other.kind == lemma.kind)

    def __getitem__(self, name: str) -> Gradient:
        if name not in self.parts:
            known = ", ".join(self.parts)
            raise DerivationError(f"no gradient of {name!r} is part of this derivation", fix=f"one of {known}")
        return self.parts[name]


class Memory(Protocol):
    """What was checked before, by digests."""

    def __contains__(self, digest: str, /) -> bool: ...
    def add(self, digest: str, /) -> None: ...


class _Lemmas:
    """Lemmas derived once and cited again: equal equations over other tensors share one derivation."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Lemma, tuple[Tensor, ...]]] = {}

    def find(
        self, equation: Equation, tensor: Tensor, facts: tuple[Equation, ...], signal: Expr | None, per_sample: bool
    ) -> tuple[Lemma, dict[Tensor, Tensor]]:
        names: dict[Tensor, int] = {}
        for e in (equation, *facts):
            for t in (e.tensor, *e.value.tensors):
                names.setdefault(t, len(names))
        stand_ins = {t: Tensor(f"t{n}", t.shape, t.dtype) for t, n in names.items()}
        keys = (e.over(stand_ins).key for e in (equation, *facts))
        name: Key = (names[tensor], signal, per_sample, equation.tensor == LOSS, *keys)
        if name not in self._known:
            lemma = derive_lemma(equation, tensor, facts, signal=signal, per_sample=per_sample)
            self._known[name] = (lemma, tuple(names))
        lemma, originals = self._known[name]
        return lemma, {a: b for a, b in zip(originals, names, strict=True) if a != b}


def derive_program(
    program: Program, loss: Tensor | None, wrt: Sequence[Tensor], *, layers: Mapping[str, str] | None = None,
    letters: Mapping[str, str] | None = None, memory: Memory | None = None,
) -> Derivation:
    """Derive the gradients of a program by the tensors `wrt`, and check every line of it (`derive.check`) that the
    memory does not have.

    `loss` is a scalar that the program defines, and is LOSS in the derivation; with None, the derivation starts from
    the gradient by each output, which is an input. Raises EquationError for a program that is not well formed,
    DerivationError where the loss is no scalar, a rule is missing or a line is false.
    """
    from chainrule.derive.check import checked  # it derives too, at smaller shapes

    return checked(backward_pass(program, loss, wrt, layers=layers, letters=letters), memory)


def backward_pass(
    program: Program, loss: Tensor | None, wrt: Sequence[Tensor], *, layers: Mapping[str, str] | None = None,
    letters: Mapping[str, str] | None = None,
) -> Derivation:
    """What `derive_program` gives, not yet checked."""
    check_program(program)
    if not wrt:
        raise DerivationError("there is nothing to differentiate by", fix="let the equations read a real tensor")
    program, evaluations = evaluated(program)
    if loss is not None:
        if loss.shape:
            raise DerivationError(
                f"the loss {loss.name} has shape {loss.shape}", fix="a loss is a scalar: take its mean"
            )
        program, wrt = program.over({loss: LOSS}), [LOSS if tensor == loss else tensor for tensor in wrt]
        loss = LOSS
    needed = _depending(program, wrt)
    uses: dict[Tensor, list[Use]] = {}
    lemmas = _Lemmas()
    positions: dict[Equation, dict[Key, Equation]] = {}
    constants: dict[Tensor, Expr] = {}
    backward: list[Equation] = []
    parts: dict[str, Gradient] = {}
    seeds = (loss,) if loss is not None else tuple(o for o in program.outputs if o in needed)
    live = set(seeds)
    if loss is not None and loss in wrt:
        backward.append(Equation(Component(adjoint_of(loss), ()), ONE))
    per_sample = _loss_of_samples(program, loss)

    def finish(tensor: Tensor) -> None:
        """Close the gradient of a tensor once all its uses are known."""
        shares = uses.get(tensor, [])
        renamed = [_as_share(u, i, len(shares)) for i, u in enumerate(shares, 1)]
        backward.extend(e for u in renamed for e in u.equations)
        total = _total(tensor, renamed) if len(renamed) > 1 else None
        if total is not None:
            backward.append(total)
        elif not renamed:
            backward.append(zero_gradient(tensor))
        parts[tensor.name] = Gradient(tensor, tuple(renamed), total)
        if len(renamed) == 1 and len(renamed[0].equations) == 1 and not renamed[0].equations[0].value.tensors:
            constants[tensor] = renamed[0].equations[0].value

    for equation in reversed(program.equations):
        y = equation.tensor
        if y not in needed or y not in live:
            continue
        if y not in seeds and y.name not in parts:
            finish(y)
        for x in equation.value.tensors:
            if x in needed and x.dtype == "real":
                live.add(x)
                if x in seeds:
                    raise DerivationError(f"the output {x.name} is read by another", about=equation, fix="give a loss")
                lemma, mapping = lemmas.find(
                    equation, x, _facts(program, equation), constants.get(y), y == per_sample
                )
                mapping |= {adjoint_of(a): adjoint_of(b) for a, b in mapping.items()}
                for position in lemma.auxiliary:
                    own = position.over(mapping)
                    saved = positions.setdefault(equation, {})
                    if own.key not in saved:
                        taken = {e.tensor.name for known in positions.values() for e in known.values()}
                        numbers = count(max(0, own.tensor.role.number - 1) if own.tensor.role else 0)
                        free = (position_of(y, own.indices, before) for before in numbers)
                        saved[own.key] = own.over({own.tensor: next(t for t in free if t.name not in taken)})
                    mapping[position.tensor] = saved[own.key].tensor
                equations = tuple(piece.equation.over(mapping) for piece in lemma.pieces)
                uses.setdefault(x, []).append(Use(equation, x, lemma, mapping, equations))
    for tensor in wrt:
        if tensor.name not in parts and tensor not in seeds:
            finish(tensor)

    forward = _with_auxiliary(program, positions)
    gradients = {t.name: adjoint_of(t) for t in wrt}
    given = [*forward.given, *forward.defined]
    if loss is None:
        given += [adjoint_of(o) for o in seeds]
    body = Program(tuple(backward), tuple(given), outputs=tuple(gradients.values()))
    return Derivation(forward, body, parts, gradients, loss, layers or {}, evaluations, letters or {})


def _loss_of_samples(program: Program, loss: Tensor | None) -> Tensor | None:
    """e where the loss is the mean over the samples of e[n], and perhaps more."""
    return next((averaged(e) for e in program.equations if e.tensor == loss), None)


def _depending(program: Program, wrt: Iterable[Tensor]) -> set[Tensor]:
    """The tensors whose gradients are needed: those asked for, and all that are computed from them."""
    result = set(wrt)
    for equation in program.equations:
        if any(t in result for t in equation.value.tensors):
            result.add(equation.tensor)
    return result


def _facts(program: Program, equation: Equation) -> tuple[Equation, ...]:
    """Other forward equations over tensors of this one, whose values its lemmas may read."""
    read = set(equation.value.tensors)
    return tuple(
        e for e in program.equations
        if e is not equation and e.value.tensors and set(e.value.tensors) <= read and e.target.pad is None
        and all(s.plain is not None for s in e.target.subscripts)
    )


def _as_share(use: Use, number: int, count: int) -> Use:
    """A contribution goes straight into the gradient where it is the only one."""
    if count == 1:
        return use
    gradient = adjoint_of(use.tensor)
    share = derived(USE, gradient, number=number)

    def renamed(e: Equation) -> Equation:
        return Equation(Component(share, e.target.subscripts), e.value)

    return Use(use.equation, use.tensor, use.lemma, use.mapping, tuple(map(renamed, use.equations)))


def _total(tensor: Tensor, uses: Iterable[Use]) -> Equation:
    """∂ℓ/∂x is the sum of the contributions of all the uses of x."""
    target = zero_gradient(tensor).target
    return Equation(target, add(Component(use.contribution, target.subscripts) for use in uses))


def _with_auxiliary(program: Program, auxiliary: Mapping[Equation, Mapping[Key, Equation]]) -> Program:
    equations: list[Equation] = []
    for equation in program.equations:
        equations.append(equation)
        equations.extend(auxiliary.get(equation, {}).values())
    return Program(
        tuple(equations), program.inputs, program.parameters, program.random, program.states, program.outputs
    )


def derive_equation(text: str, *, wrt: str | Sequence[str] | None = None) -> Derivation:
    """Derive equations given as text, one on each line, from a given error signal of what the last one defines; where
    that is the scalar `loss`, from the loss.

    `wrt` names the tensors to differentiate by: real ones that the equations read and do not define, by default all.
    """
    equations = tuple(parse_program(text))
    about = shorten("; ".join(lines(text)), 200)
    if not equations:
        raise EquationError("there is no equation", fix="write it as in: y[n, k] = sigmoid(u[n, k])")
    result = equations[-1].tensor
    defined = dict.fromkeys(e.tensor for e in equations)
    given = tuple(t for t in reads(equations) if t not in defined)
    program = Program(equations, inputs=given, outputs=(result,))
    by_name = {t.name: t for t in given if t.dtype == "real"}
    known = f"one of {', '.join(by_name)}" if by_name else "write a real tensor on the right"
    names = [wrt] if isinstance(wrt, str) else by_name if wrt is None else wrt
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DerivationError(f"wrt names tensors, and {shorten(repr(wrt), 40)} does not", about=about, fix=known)
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in by_name:
            raise DerivationError(
                f"{name} is defined by a line, and not given" if name in {t.name for t in defined}
                else f"no real tensor {name} stands in the equation{'s' * (len(defined) > 1)}",
                about=about, fix=nearest(name, by_name) + known,
            )
    if not names:
        raise DerivationError("there is nothing to differentiate by", about=about, fix=known)
    check_program(program)
    _check_used(program)
    wanted = [by_name[n] for n in names]
    if result == Tensor("loss", ()):
        return derive_program(program, result, wanted)
    return derive_program(program, None, wanted)


def _check_used(program: Program) -> None:
    """Raises DerivationError where a line has no part in what the last one defines."""
    used = set(program.outputs)
    for equation in reversed(program.equations):
        if equation.tensor in used:
            used.update(equation.value.tensors)
    for equation in program.equations:
        if equation.tensor not in used:
            raise DerivationError(
                f"{equation.tensor.name} is defined and not used: {program.outputs[0].name}, which the last line "
                "defines, does not depend on it", about=equation, fix="leave the line out, or write the result last",
            )
