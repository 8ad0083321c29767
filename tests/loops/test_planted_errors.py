"""Errors planted into lowered loops are refused: over GF(p) the interpreter finds other elements, or an address that is
none. (tests/targets/test_field_loops.py plants them into the emitted C.)

A few change nothing, and survive: where what is added is a halo's zero, or a gradient that the pool sent elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from tests.loops.arithmetic import Field
from tests.loops.tasks import computed_exactly, differing, elements, wanted

import chainrule as cr
from chainrule.compile import training
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Affine, Index
from chainrule.loops import nodes as ir
from chainrule.loops.interpret import Step
from chainrule.loops.plan import Plan
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine

SEED, SAMPLES = 5, 17


@dataclass(frozen=True)
class Where:
    """The width of the program, and the loops of the kernel that turn once: any stride is right there."""

    width: int
    once: frozenset[Index]


Change = Callable[[ir.Statement, Where], Iterable[ir.Statement]]


@cache
def program(expected: int) -> Plan:
    """A convolution with a halo, a pool, a dense layer whose outputs leave a part of a vector, an update."""
    model = cr.Sequential(
        cr.Input(1, 3, 3), cr.Conv2d(2, 2, padding=1), cr.Sigmoid(), cr.MaxPool2d(2, stride=1), cr.Flatten(),
        cr.Dense(5), cr.Tanh(), cr.Dense(3), loss="softmax_cross_entropy",
    )  # fmt: skip
    task = training(model.network, model.derive(), cr.SGD(0.1, momentum=0.9), "numbers")
    return lower(task, Machine(4, 12), samples=expected)


@cache
def point(expected: int) -> tuple[dict[Tensor, Any], dict[Tensor, Any]]:
    """Random elements, and what a step makes of them."""
    task = program(expected).task
    given = elements(task, SAMPLES, SEED)
    return given, wanted(task, computed_exactly(task, given, SAMPLES, SEED))


def refused(lowered: Plan) -> bool:
    given, right = point(2 if lowered.width == 1 else 6)
    try:
        step = Step(lowered, Field(SEED), given)
    except (IndexError, TypeError, ValueError):  # outside of a tensor, or never written
        return True
    return differing({**step.outputs, **step.kept}, right) != []


def variants(statements: tuple[ir.Statement, ...], change: Change, where: Where) -> Iterator[tuple[ir.Statement, ...]]:
    """The statements with one of them changed, one after another."""
    for n, statement in enumerate(statements):
        for new in change(statement, where):
            yield (*statements[:n], new, *statements[n + 1 :])
        if isinstance(statement, (ir.For, ir.If)):
            for body in variants(statement.body, change, where):
                yield (*statements[:n], replace(statement, body=body), *statements[n + 1 :])


def turns(of: ir.For) -> float:
    match of.start, of.stop:
        case (int() as start, int() as stop) | ((_, int() as start), (_, int() as stop)):
            return (stop - start) // of.step
        case _:
            return float("inf")


def turning_once(statements: Iterable[ir.Statement]) -> Iterator[Index]:
    for statement in statements:
        if isinstance(statement, ir.For) and turns(statement) <= 1:
            yield statement.loop
        if isinstance(statement, (ir.For, ir.If)):
            yield from turning_once(statement.body)


def shorter(statement: ir.Statement, where: Where) -> Iterator[ir.Statement]:
    """The last turn of a loop is left out."""
    if isinstance(statement, ir.For) and isinstance(statement.stop, int):
        yield replace(statement, stop=statement.stop - statement.step)


def later(statement: ir.Statement, where: Where) -> Iterator[ir.Statement]:
    """A loop begins one turn late."""
    if isinstance(statement, ir.For) and isinstance(statement.start, int):
        yield replace(statement, start=statement.start + statement.step)


def moved(by: int) -> Change:
    """A read that is off: as where a halo, or an offset in packed memory, is forgotten."""

    def change(statement: ir.Statement, where: Where) -> Iterator[ir.Statement]:
        match statement:
            case ir.Let(value=ir.Load(address=address) as load) if load.kind in ("vec", "real"):
                new = replace(address, affine=address.affine + by)
                yield replace(statement, value=replace(load, address=new))
            case ir.Store(address=address):
                yield replace(statement, address=replace(address, affine=address.affine + by))
            case _:
                pass

    return change


def restrided(statement: ir.Statement, where: Where) -> Iterator[ir.Statement]:
    """A stride of an address is one too large."""
    match statement:
        case ir.Let(value=ir.Load(address=address) as load):
            for index in [i for i, _ in address.affine.terms if i not in where.once]:
                new = replace(address, affine=address.affine + Affine.of(index))
                yield replace(statement, value=replace(load, address=new))
        case _:
            pass


def unfinished(statement: ir.Statement, where: Where) -> Iterator[ir.Statement]:
    """What is made of a value, an activation or a bias, is dropped."""
    match statement:
        case ir.Let(value=ir.Call(operation=name, arguments=(first, *_)) as call) if (
            (name.endswith("_") or name in ("add", "mul")) and first.kind == call.kind and isinstance(first, ir.Local)
        ):
            yield replace(statement, value=first)
        case _:
            pass


def swapped(statement: ir.Statement, where: Where) -> Iterator[ir.Statement]:
    """Operands change places."""
    match statement:
        case ir.Set(value=ir.Call(operation="mac", arguments=(a, b, c)) as call) | ir.Let(
            value=ir.Call(operation="mac", arguments=(a, b, c)) as call
        ):
            yield replace(statement, value=replace(call, arguments=(a, c, b)))
        case _:
            pass


def unmasked(statement: ir.Statement, where: Where) -> Iterator[ir.Statement]:
    """Lanes behind the last sample, or behind the last output, count."""
    match statement:
        case ir.Set(value=ir.Call(operation="choose", arguments=(ir.Local(kind="mask"), new, _))) if (
            where.width > 1  # with one sample in each vector the lanes that are masked hold zeros
        ):
            yield replace(statement, value=new)
        case ir.Store(part=int()):
            yield replace(statement, part=None)
        case _:
            pass


ERRORS: dict[str, Change] = {
    "a loop that ends early": shorter, "a loop that begins late": later, "an address too far": moved(1),
    "an address of the vector before": moved(-4), "a wrong stride": restrided, "a dropped epilogue": unfinished,
    "swapped operands": swapped, "a lost mask": unmasked,
}  # fmt: skip


def planted(lowered: Plan, change: Change) -> Iterator[Plan]:
    for n, stage in enumerate(lowered.stages):
        if isinstance(stage, ir.Kernel):
            where = Where(lowered.width, frozenset(turning_once(stage.body)))
            for body in variants(stage.body, change, where):
                stages = (*lowered.stages[:n], replace(stage, body=body), *lowered.stages[n + 1 :])
                yield replace(lowered, stages=stages)


@pytest.mark.parametrize("expected", [2, 6])
def test_the_sound_program_is_accepted(expected: int) -> None:
    assert not refused(program(expected))


@pytest.mark.parametrize("error", ERRORS)
def test_a_planted_error_is_refused(error: str) -> None:
    places = [p for expected in (2, 6) for p in planted(program(expected), ERRORS[error])]
    assert len(places) > 1
    few = places[:: max(1, len(places) // 4)]
    assert 3 * sum(refused(lowered) for lowered in few) >= 2 * len(few)


@pytest.mark.campaign
@pytest.mark.parametrize("error", ERRORS)
def test_planted_errors_are_refused_everywhere(error: str) -> None:
    places = [p for expected in (2, 6) for p in planted(program(expected), ERRORS[error])]
    survivors = sum(not refused(lowered) for lowered in places)
    assert survivors <= len(places) // 4, f"{survivors} of {len(places)}"
