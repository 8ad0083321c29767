"""An optimizer's step: the program that runs, for all parameters, against its rule for one parameter at a time.

The second program is put together apart from the first: each parameter's equations by themselves, over a gradient that
is clipped as the definition has it, max(min(g, c), −c) and then g/max(‖g‖/c, 1) with ‖g‖² as one sum. So a state of
another parameter, a wrong rank, a missing decay or a norm over some of the parameters is seen. Both read the rule's own
texts: that those are the papers' is what the optimizers' tests say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod

from chainrule.derive.subject import Subject
from chainrule.errors import VerificationError
from chainrule.ir.expr import ONE, Apply, Component, Constant, Expr, Power, Tensor, add, derived, multiply, summed
from chainrule.ir.index import Affine, Index
from chainrule.ir.program import Equation, Program, State
from chainrule.ir.template import bound
from chainrule.optim.optimizer import RATE, Optimizer
from chainrule.verify.exact import ProgramCheck

Pair = tuple[Tensor, Tensor]
ENTRIES = 200_000  # of all parameters; beyond, axes are cut: a rule's text sees how many there are, never how long
SMALL = 3


def step_check(optimizer: Optimizer, pairs: Sequence[Pair], program: Program | None = None) -> ProgramCheck:
    """The step for parameters, each with its gradient; `program` stands in for the one that the optimizer makes.
    Raises VerificationError where it keeps other states than the rule names."""
    what = Subject("step", rule=type(optimizer).__name__)
    if program is None and sum(prod(_shape(value)) for value, _ in pairs) > ENTRIES:
        what = replace(what, cut=SMALL)
        pairs = [(_cut(value), _cut(gradient)) for value, gradient in pairs]
    one, other = program or optimizer.program(pairs), _one_at_a_time(optimizer, pairs)
    kept, expected = ({f"{s.tensor.name} → {s.next.name}" for s in p.states} for p in (one, other))
    if kept != expected:
        left, right = (", ".join(sorted(names)) or "nothing" for names in (kept - expected, expected - kept))
        raise VerificationError(str(replace(what, y="its states")), "what is kept", left, right)
    return ProgramCheck(one, other, {}, tuple(s.next.name for s in other.states), what)


def _one_at_a_time(optimizer: Optimizer, pairs: Sequence[Pair]) -> Program:
    """The rule for each parameter by itself; what belongs to no parameter is computed anew for each."""
    numbers = {name: Tensor(name, ()) for name in optimizer.numbers}
    following = {f"{name}_next": Tensor(f"{name}_next", ()) for name in numbers}
    states = [State(tensor, following[f"{name}_next"]) for name, tensor in numbers.items()]
    equations, clipped = _clipped(optimizer, pairs)
    equations += _instance(optimizer.shared(), numbers, following, "").values()
    for (value, _), gradient in zip(pairs, clipped, strict=True):
        own = {"value": value, **{name: Tensor(f"{name}.{value.name}", value.shape) for name in optimizer.kept}}
        after = {f"{name}_next": Tensor(f"{name}_next.{value.name}", value.shape) for name in own}
        shared = _instance(optimizer.shared(), numbers, {}, value.name)
        read = {"rate": RATE, **numbers, **{name: e.tensor for name, e in shared.items()}, **own, "gradient": gradient}
        step = _instance(optimizer.equations(len(value.shape)), read, after, value.name)
        equations += [*shared.values(), *step.values()]
        states += [State(tensor, after[f"{name}_next"]) for name, tensor in own.items()]
    return Program(tuple(equations), inputs=(RATE, *(gradient for _, gradient in pairs)), states=tuple(states))


def _instance(
    text: str, read: Mapping[str, Tensor], defined: Mapping[str, Tensor], owner: str
) -> dict[str, Equation]:
    """The equations of a text, by the names they define, over the tensors that are read and defined; any other that
    the text defines is `owner`'s."""
    names: list[str] = []

    def made(tensor: Tensor) -> Tensor:
        names.append(tensor.name)
        return defined.get(tensor.name) or derived(f"{tensor.name} of {owner}", shape=tensor.shape)

    return dict(zip(names, bound(text, read, made), strict=False))


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(int(extent) for extent in tensor.shape)


def _cut(tensor: Tensor) -> Tensor:
    return Tensor(tensor.name, tuple(min(extent, SMALL) for extent in _shape(tensor)))


def _clipped(optimizer: Optimizer, pairs: Sequence[Pair]) -> tuple[list[Equation], list[Tensor]]:
    """The definitions of clipping, and the tensors that hold the clipped gradients."""
    equations: list[Equation] = []

    def define(kind: str, by: dict[Tensor, Expr]) -> dict[Tensor, Expr]:
        """Each parameter's gradient as a tensor of its own, and reads of those."""
        made: dict[Tensor, Expr] = {}
        for value, expression in by.items():
            tensor = derived(kind, value)
            made[value] = Component(tensor, _at(value))
            equations.append(Equation(Component(tensor, _at(value)), expression))
        return made

    reads: dict[Tensor, Expr] = {value: Component(gradient, _at(value)) for value, gradient in pairs}
    reads = define("given", reads)
    if (c := optimizer.clip_value) is not None:
        bound = Constant(Fraction(str(c)))
        below = Constant(-Fraction(str(c)))
        reads = define("bounded", {v: Apply("max", (Apply("min", (g, bound)), below)) for v, g in reads.items()})
    if (c := optimizer.clip_norm) is not None:
        squares = add(summed(g.free, Power(g, Fraction(2))) for g in reads.values())
        norm = multiply((Power(squares, Fraction(1, 2)), Constant(1 / Fraction(str(c)))))
        scale = Power(Apply("max", (norm, ONE)), Fraction(-1))
        reads = define("scaled", {v: multiply((g, scale)) for v, g in reads.items()})
    return equations, [g.tensor for g in reads.values() if isinstance(g, Component)]


def _at(tensor: Tensor) -> tuple[Affine, ...]:
    return tuple(Affine.of(Index(f"i{axis + 1}", extent)) for axis, extent in enumerate(tensor.shape))
