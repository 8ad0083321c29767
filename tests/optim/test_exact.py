"""The steps in GF(p): without roots against plain whole numbers, with roots against the formula put together
differently. An equation that is wrong by one term differs at a random point."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.ir.expr import Tensor
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program
from chainrule.optim.optimizer import Optimizer
from chainrule.semantics.field import execute, random_values
from chainrule.semantics.prime import PRIME

SHAPE = (2, 3)
W, G = Tensor("p.W", SHAPE), Tensor("δp.W", SHAPE)
Values = dict[str, np.ndarray[Any, Any]]


def residue(number: float) -> int:
    """The decimal as it is written, as an element of the field."""
    value = Fraction(str(number))
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


def points(rule: Optimizer, steps: int) -> list[Values]:
    """The states of the program after each step, from a random start and with random gradients and rates."""
    program = rule.program([(W, G)])
    states = random_values([s.tensor for s in program.states], {}, 0)
    path = [states]
    for step in range(steps):
        given = random_values(program.inputs, {}, step + 1)
        result = execute(program, {**states, **given}, seed=7)
        states = {s.tensor.name: result[s.next.name][0] for s in program.states}
        path.append({**states, **given})
    return path


def plain(momentum: float, nesterov: bool, path: list[Values], forget: bool = False) -> list[int]:
    """The last value of SGD, component by component in Python's whole numbers."""
    m, result = residue(momentum), list[int]()
    for place in np.ndindex(*SHAPE):
        value = int(path[0]["p.W"][place])
        velocity = int(path[0]["velocity.p.W"][place]) if momentum else 0
        for at in path[1:]:
            rate, gradient = int(at["rate"]), int(at["δp.W"][place])
            velocity = ((0 if forget else m * velocity) + gradient) % PRIME
            value = (value - rate * (gradient + m * velocity if nesterov else velocity)) % PRIME
        result.append(value)
    return result


@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (1 / 3, False), (0.9, True), (0.1, True)]
)
def test_descent_with_and_without_momentum_is_exact(momentum: float, nesterov: bool) -> None:
    path = points(cr.SGD(momentum=momentum, nesterov=nesterov), 5)
    last = [int(v) for v in path[-1]["p.W"].ravel()]
    assert last == plain(momentum, nesterov, path)
    if momentum:
        assert last != plain(momentum, nesterov, path, forget=True)
        assert last != plain(momentum, not nesterov, path)


# Each formula once more, put together in another way: over w, g, rate and the states before, w2 is the value after.
OTHERWISE: dict[str, tuple[Optimizer, str]] = {
    "adam": (
        cr.Adam(),
        """
        m[i, j] = moment1[i, j] - 1/10*(moment1[i, j] - g[i, j])
        v[i, j] = moment2[i, j] + (g[i, j]**2 - moment2[i, j])/1000
        p = 1 - 0.9*(1 - weight1)
        root[i, j] = (v[i, j]*(1 - 0.999*(1 - weight2))**-1)**(1/2)
        w2[i, j] = w[i, j] - rate*m[i, j]*(p*root[i, j] + 0.00000001*p)**-1
        """,
    ),
    "adamw": (
        cr.AdamW(weight_decay=0.25),
        """
        m[i, j] = moment1[i, j] - 1/10*(moment1[i, j] - g[i, j])
        v[i, j] = moment2[i, j] + (g[i, j]**2 - moment2[i, j])/1000
        p = 1 - 0.9*(1 - weight1)
        root[i, j] = (v[i, j]*(1 - 0.999*(1 - weight2))**-1)**(1/2)
        w2[i, j] = w[i, j]*(1 - rate/4) - rate*m[i, j]*(p*root[i, j] + 0.00000001*p)**-1
        """,
    ),
    "rmsprop": (
        cr.RMSProp(momentum=0.5),
        """
        v[i, j] = square[i, j] + (g[i, j]**2 - square[i, j])/10
        s[i, j] = (0.0000001 + v[i, j])**(-1/2)
        w2[i, j] = w[i, j] - velocity[i, j]/2 - g[i, j]*s[i, j]*rate
        """,
    ),
    "adagrad": (
        cr.Adagrad(),
        "w2[i, j] = w[i, j] - rate*(g[i, j]*g[i, j] + 1/10000000 + squares[i, j])**(-1/2)*g[i, j]",
    ),
    "clipped": (
        cr.SGD(clip_norm=0.5),
        """
        norm = sum[i, j](g[i, j]*g[i, j])**(1/2)
        w2[i, j] = w[i, j] - g[i, j]*rate/max(2*norm, 1)
        """,
    ),
}

# What each text says, and what it must not be mistaken for.
WRONG = {
    "adam": ("(1 - 0.999*(1 - weight2))**-1", "1"),
    "adamw": ("w[i, j]*(1 - rate/4)", "w[i, j]*(1 - 1/4)"),
    "rmsprop": ("*s[i, j]*rate", "*s[i, j]*rate/2"),
    "adagrad": (" + squares[i, j]", ""),
    "clipped": ("max(2*norm, 1)", "max(norm, 1)"),
}


def otherwise(rule: Optimizer, text: str, given: Values) -> np.ndarray[Any, Any]:
    tensors = {"w": Tensor("w", SHAPE), "g": Tensor("g", SHAPE), "rate": Tensor("rate", ())}
    tensors |= {name: Tensor(name, SHAPE) for name in rule.kept} | {name: Tensor(name, ()) for name in rule.numbers}
    program = Program(tuple(parse_program(text, tensors=tensors)), inputs=tuple(tensors.values()))
    values = {"w": given["p.W"], "g": given["δp.W"], "rate": given["rate"]}
    values |= {name: given[f"{name}.p.W"] for name in rule.kept} | {name: given[name] for name in rule.numbers}
    return execute(program, values, seed=7)["w2"][0]


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_step_with_roots_equals_its_formula_put_together_differently(name: str) -> None:
    rule, text = OTHERWISE[name]
    program = rule.program([(W, G)])
    given = random_values(program.given, {}, 3)
    result = execute(program, given, seed=7)["value_next.p.W"][0]
    np.testing.assert_array_equal(result, otherwise(rule, text, given))
    right, wrong = WRONG[name]
    assert right in text
    assert not (result == otherwise(rule, text.replace(right, wrong), given)).any()


def test_the_powers_of_adam_are_one_number_for_all_parameters() -> None:
    program = cr.Adam().program([(W, G), (Tensor("p.b", (2,)), Tensor("δp.b", (2,)))])
    assert [s.tensor.name for s in program.states].count("weight1") == 1
    assert [e.tensor.name for e in program.equations].count("weight1_next") == 1


def test_a_parameter_may_be_called_like_the_next_value_of_another() -> None:
    pairs = [(Tensor(f"a.{name}", (2,)), Tensor(f"δa.{name}", (2,))) for name in ("W", "W_next", "value_next")]
    program = cr.Adam(clip_value=1.0, clip_norm=1.0).program(pairs)
    names = [t.name for t in (*program.given, *program.defined)]
    assert len(set(names)) == len(names)
