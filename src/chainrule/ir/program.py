"""Equations and programs.

An equation `y[I] = E` defines the components of y. A program is an ordered list of them with the
tensors it is given (inputs, parameters, random inputs, states) and those it is asked for (outputs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chainrule.ir.expr import Add, Component, Expr, Multiply, Power, Reduce, Size, Tensor
from chainrule.ir.index import SAMPLES, Index
from chainrule.ir.walk import Key, key, replace_tensors


@dataclass(frozen=True, slots=True)
class Equation:
    """target[I] = value. The subscripts of the target are mixed-radix numbers over distinct indices;
    pieces of one tensor (the residue classes of a stride) may be defined by several equations."""

    target: Component
    value: Expr

    @property
    def indices(self) -> tuple[Index, ...]:
        return self.target.free

    @property
    def tensor(self) -> Tensor:
        return self.target.tensor

    @property
    def key(self) -> Key:
        return (key(self.target, self.indices), key(self.value, self.indices))

    def over(self, mapping: Mapping[Tensor, Tensor]) -> Equation:
        """The same equation over other tensors."""
        target = Component(mapping.get(self.tensor, self.tensor), self.target.subscripts, self.target.pad)
        return Equation(target, replace_tensors(self.value, mapping))

    def __str__(self) -> str:
        from chainrule.ir.print import to_text

        return to_text(self)


@dataclass(frozen=True, slots=True)
class State:
    """A tensor that keeps its value between runs: `next` holds what it becomes after one."""

    tensor: Tensor
    next: Tensor


@dataclass(frozen=True)
class Program:
    equations: tuple[Equation, ...]
    inputs: tuple[Tensor, ...] = ()
    parameters: tuple[Tensor, ...] = ()
    random: tuple[Tensor, ...] = ()
    states: tuple[State, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    @property
    def given(self) -> tuple[Tensor, ...]:
        """Everything that must have a value before the first equation runs."""
        return (*self.inputs, *self.parameters, *self.random, *(state.tensor for state in self.states))

    @property
    def defined(self) -> tuple[Tensor, ...]:
        return tuple(dict.fromkeys(equation.tensor for equation in self.equations))

    def tensor(self, name: str) -> Tensor:
        for tensor in (*self.given, *self.defined):
            if tensor.name == name:
                return tensor
        raise KeyError(name)

    def over(self, mapping: Mapping[Tensor, Tensor]) -> Program:
        """The same program over other tensors."""

        def swap(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
            return tuple(mapping.get(t, t) for t in tensors)

        return Program(
            tuple(e.over(mapping) for e in self.equations), swap(self.inputs), swap(self.parameters),
            swap(self.random), tuple(State(*swap((s.tensor, s.next))) for s in self.states), swap(self.outputs),
        )

    def __repr__(self) -> str:
        return f"<program of {len(self.equations)} equations; print it>"

    def __str__(self) -> str:
        from chainrule.ir.print import spellings, to_text

        every = (*self.given, *self.defined, *reads(self.equations))
        spelled = spellings(every)
        return "\n".join(to_text(equation.over(spelled)) for equation in self.equations)


def reads(equations: Iterable[Equation]) -> tuple[Tensor, ...]:
    """The tensors that the right-hand sides read, in order."""
    return tuple(dict.fromkeys(t for equation in equations for t in equation.value.tensors))


def averaged(equation: Equation) -> Tensor | None:
    """e where the value is the mean over the samples of e[n], and perhaps more."""
    value = equation.value
    for term in value.terms if isinstance(value, Add) else (value,):
        match term:
            case Multiply(factors=(Power(base=Size(), exponent=r), Reduce(kind="sum", body=Component() as e))):
                if r == -1 and e.tensor.shape == (SAMPLES,):
                    return e.tensor
            case _:
                pass
    return None
