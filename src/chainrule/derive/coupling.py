"""Where samples couple: the equations from which on, going backwards, no gradient is that of one sample's loss.

As long as a value of sample n reaches the loss through sample n alone, N times its gradient is the gradient of the loss
of that sample, and lines for one sample are true. Batch normalisation ends that: through its mean every sample reaches
every other. Below, going backwards, there are only lines for all the samples together.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from chainrule.derive.lemma import one_sample
from chainrule.ir.expr import Add, Component, Expr, Multiply, Reduce, Tensor
from chainrule.ir.index import SAMPLES, Index
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import components


@dataclass(frozen=True)
class Coupling:
    """`first` holds the equations in which one sample's value depends on another's and which no such equation follows,
    the last of the program first, each with the tensors through which it does; `below` the equations, these included,
    whose lemmas have no lines for one sample."""

    first: Mapping[Equation, tuple[Tensor, ...]]
    below: Set[Equation]


def coupling(program: Program, loss: Tensor | None, differentiated: Set[Tensor]) -> Coupling:
    """`differentiated` are the tensors that have a gradient. A loss that is a sum or a mean over the samples does not
    couple them, nor does a number that is counted of them and has no gradient."""
    sampled = _sampled(program, differentiated)
    first: dict[Equation, tuple[Tensor, ...]] = {}
    below: set[Equation] = set()
    mixed: set[Tensor] = set()
    totals = {loss} if loss is not None else set[Tensor]()
    for equation in reversed(program.equations):
        read = [t for t in equation.value.tensors if t in differentiated]
        if not read or equation.tensor not in differentiated | totals | set(program.outputs):
            continue
        if equation.tensor in mixed:
            below.add(equation)
        elif equation.tensor in totals and _adds(equation.value, sampled):
            # A number that is added to the loss is a part of it.
            totals.update(t for t in read if not t.shape and t in sampled)
        elif through := _through(equation, sampled):
            first[equation] = through
            below.add(equation)
        if equation in below:
            mixed.update(t for t in read if t in sampled)
    return Coupling(first, frozenset(below))


def _sampled(program: Program, differentiated: Set[Tensor]) -> set[Tensor]:
    """The differentiated tensors that depend on samples: values of each, and statistics of all."""
    result = {t for t in differentiated if SAMPLES in t.shape}
    for equation in program.equations:
        if equation.tensor in differentiated and result & set(equation.value.tensors):
            result.add(equation.tensor)
    return result


def _through(equation: Equation, sampled: Set[Tensor]) -> tuple[Tensor, ...]:
    """What it reads that depends on several samples: a statistic, or a tensor at other samples than its own."""
    read = [t for t in equation.value.tensors if t in sampled]
    if not read:
        return ()
    if SAMPLES in equation.tensor.shape and one_sample(equation) is not None:
        return tuple(t for t in read if SAMPLES not in t.shape)
    return tuple(read)


def _adds(value: Expr, sampled: Set[Tensor]) -> bool:
    """Whether a value is a sum over the samples of values of one each, times constants, plus what is of no sample."""
    match value:
        case _ if not _depends(value, sampled):
            return True
        case Component(tensor=tensor):
            return not tensor.shape
        case Add(terms=terms):
            return all(_adds(t, sampled) for t in terms)
        case Multiply(factors=factors):
            inside = [f for f in factors if _depends(f, sampled)]
            return len(inside) == 1 and _adds(inside[0], sampled)
        case Reduce(kind="sum", indices=indices, body=body):
            samples = [i for i in indices if i.is_sample]
            return _of_one(body, samples[0], sampled) if len(samples) == 1 else not samples and _adds(body, sampled)
        case _:
            return False


def _of_one(value: Expr, n: Index, sampled: Set[Tensor]) -> bool:
    """Whether a value reads of all that depends on samples only what is of sample n."""
    return all(
        [s.plain for s, e in zip(c.subscripts, c.tensor.shape, strict=True) if e == SAMPLES] == [n]
        for c in components(value) if c.tensor in sampled
    )


def _depends(value: Expr, sampled: Set[Tensor]) -> bool:
    return any(t in sampled for t in value.tensors)
