"""Negative controls: every mutant of a line is refused or shown to be equivalent, no reformulation is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice, product

import numpy as np
import pytest

from chainrule.arrays import execute as executor
from chainrule.derive import RULES, Derivation, Rule
from chainrule.derive.scene import Line, Scene, of_lemma
from chainrule.derive.trace import Setting
from chainrule.derive.trial import line_differs
from chainrule.errors import ChainruleError
from chainrule.ir.expr import LOSS, Expr
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import substitute
from chainrule.semantics.labelled import onto, ranges
from chainrule.semantics.reals import precise
from chainrule.verify.exact import Array, GradientCheck, SceneCheck
from tests.derive.cases import CASES, Case
from tests.examples import few
from tests.floats import evaluate
from tests.verify.mutants import canonical, mutants, reformulations

EXTENTS = {"N": 2}
FAST = ("dense", "softmax", "conv1d_stride_3_kernel_2", "mse_and_decay")
KINDS = {
    "drop a term", "swap indices", "scale by 1 + 1e-7", "shift a subscript", "drop a bracket", "wrong axis",
    "missing 1/N", "missing sum over the batch",
}


def scenes(name: str) -> Iterator[tuple[Scene, tuple[Equation, ...]]]:
    for gradient in CASES[name].derivation.parts.values():
        for use in gradient.uses:
            yield of_lemma(use.lemma, EXTENTS), (use.lemma.equation, *use.lemma.facts)


def in_floats(scene: Scene, seed: int) -> dict[str, Array]:
    """A point of the scene for the float executor, which shares nothing with the field's interpreter."""
    rng = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for tensor in scene.given:
        shape = tuple(EXTENTS[e] if isinstance(e, str) else e for e in tensor.shape)
        if tensor.dtype == "integer":
            values[tensor.name] = rng.integers(0, scene.ranges[tensor.name], shape)
        else:
            values[tensor.name] = rng.uniform(0.25, 2, shape)
    for tensor, known in scene.known.items():
        constant = float(evaluate(known, values, (), extents=EXTENTS))
        values[tensor.name] = np.full(tuple(EXTENTS[e] if isinstance(e, str) else e for e in tensor.shape), constant)
    for equation in scene.equations:
        if equation.tensor not in scene.known:
            shape = tuple(EXTENTS[e] if isinstance(e, str) else e for e in equation.tensor.shape)
            value = evaluate(equation.value, values, equation.indices, extents=EXTENTS)
            whole = values.setdefault(equation.tensor.name, rng.uniform(0.5, 1, shape).astype(value.dtype))
            places = (ranges(s, EXTENTS) for s in equation.target.subscripts)
            whole[tuple(onto(p.data, p.axes, equation.indices) for p in places)] = value
    values.setdefault(LOSS.name, np.ones(()))
    return values


def equivalent(scene: Scene, line: Line) -> bool:
    """Whether another semantics finds both sides equal at every component: the float executor at three points, or,
    where a line reads outside a tensor beside a false bracket, 50 digits."""
    try:
        for seed in range(3):
            values = in_floats(scene, seed)
            sides = (
                evaluate(s, values, line.free, extents=EXTENTS, definitions=scene.definitions)
                for s in (line.before, line.after)
            )
            if not np.allclose(*sides, rtol=1e-9, atol=1e-11):
                return False
    except ChainruleError:
        return line_differs(scene, line, 5, precise) is None
    return True


def survivors(names: Iterable[str], kinds: Counter[str]) -> Iterator[str]:
    """Mutants of the lines' right sides that one trial does not refuse and that are not equivalent."""
    for name in names:
        for scene, _ in scenes(name):
            for line in scene.lines:
                made = list(mutants(line.after))
                kinds.update(m.kind for m in made)
                changed = tuple(replace(line, after=m.value) for m in made)
                refused = SceneCheck(replace(scene, lines=changed)).run(1)
                for number, (mutant, new) in enumerate(zip(made, changed, strict=True)):
                    if number in refused or canonical(mutant.value) == canonical(line.after):
                        continue
                    if not equivalent(scene, replace(new, before=line.after)):
                        yield f"{name}, {line.rule}, {mutant.kind}: {mutant.value}"


def test_no_mutant_of_a_derived_line_survives() -> None:
    kinds: Counter[str] = Counter()
    assert list(survivors(FAST, kinds)) == []
    assert set(kinds) >= KINDS
    assert kinds.total() >= 500


@pytest.mark.campaign
def test_no_mutant_of_any_line_survives() -> None:
    kinds: Counter[str] = Counter()
    assert list(survivors(CASES, kinds)) == []
    assert kinds.total() >= 20_000


def test_the_harness_sees_a_survivor() -> None:
    """A check that accepts everything would be noticed: a false line is not taken for an equivalent one."""
    scene, _ = next(scenes("dense"))
    line = scene.lines[-2]
    for mutant in mutants(line.after):
        assert not equivalent(scene, replace(line, before=line.after, after=mutant.value)), mutant.kind


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.campaign)])
def test_correct_reformulations_are_accepted(every: int) -> None:
    count = 0
    for name in [*CASES][::every]:
        for scene, facts in scenes(name):
            line = scene.lines[-1]
            again = [replace(line, rule=kind, after=value) for kind, value in reformulations(line.after, facts)]
            check = SceneCheck(replace(scene, lines=tuple(again)))
            assert check.run(3) == {}, name
            count += len(again)
    assert count >= 200 / every


# Mutated programs: what the whole gradient must refuse.


def backward_mutants(derivation: Derivation) -> Iterator[tuple[str, Program]]:
    backward = derivation.backward
    for number, equation in enumerate(backward.equations):
        for mutant in mutants(equation.value):
            if canonical(mutant.value) != canonical(equation.value):
                changed = list(backward.equations)
                changed[number] = Equation(equation.target, mutant.value)
                yield f"{mutant.kind} in {equation}: {mutant.value}", replace(backward, equations=tuple(changed))


def unrefused(case: Case, limit: int) -> Iterator[str]:
    """Mutated backward programs that two trials of the gradient check accept, though another output changed."""
    derivation = case.derivation
    wanted = [g.name for g in derivation.gradients.values()]
    for number, (name, backward) in enumerate(backward_mutants(derivation)):
        if number >= limit:
            return
        check = GradientCheck(derivation, EXTENTS, backward=backward)
        if not check.run(1) and not check.run(2) and _outputs_differ(derivation, backward, wanted):
            yield name


def _outputs_differ(derivation: Derivation, backward: Program, wanted: list[str]) -> bool:
    rng = np.random.default_rng(3)
    joint = derivation.joint
    given: dict[str, Array] = {}
    for tensor in joint.given:
        shape = tuple(EXTENTS[e] if isinstance(e, str) else e for e in tensor.shape)
        given[tensor.name] = rng.integers(0, 2, shape) if tensor.dtype == "integer" else rng.uniform(0.25, 2, shape)
    other = replace(joint, equations=(*derivation.forward.equations, *backward.equations))
    runs = [executor.execute(p, given) for p in (joint, other)]
    return not all(np.allclose(runs[0][n], runs[1][n], rtol=1e-9, atol=1e-11) for n in wanted)


@pytest.mark.parametrize("name", ["residual", "cross_entropy", "max_pool_gaps", "mse_and_decay"])
def test_no_mutant_of_a_backward_program_survives(name: str) -> None:
    assert list(unrefused(CASES[name], 120)) == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", CASES)
def test_no_mutant_of_any_backward_program_survives(name: str) -> None:
    assert list(unrefused(CASES[name], 1000)) == []


# Mutated rules: the engine itself is wrong.


CHOOSING = Case("choosing", "y[n, k] = x[n, k]*argmax[p<3](x[n, p])", {"x": ("N", 3)})
COVERING = (
    "u_plus_u", "concatenation", "reversal", "reshape", "tanh", "mean_pool_real_cells", "max_pool_gaps", "silu", "mean",
    "dense_over_a_group", "two_reads_of_one_tensor", "mse_and_decay", "conv1d_stride_3_kernel_2", "cross_entropy",
)
ALL = {**CASES, CHOOSING.name: CHOOSING}


class UnusedError(Exception):
    """The wrong rule has changed nothing."""


def derived_with(id: str, number: int, case: Case, always: bool) -> Derivation | None:
    """The case derived while one rule gives its n-th mutant instead of its result, once or always; None where that is
    refused. Raises UnusedError where there is no such mutant."""
    rule, used = RULES[id], list[bool]()

    def wrong(expr: Expr, setting: Setting) -> Expr:
        after = rule.apply(expr, setting)
        if after is expr or (used and not always):
            return after
        made = [m.value for m in mutants(after) if canonical(m.value) != canonical(after)]
        if number >= len(made):
            return after
        used.append(True)
        return made[number]

    RULES[id] = Rule(rule.id, rule.law, rule.example, wrong)
    try:
        derivation = case.derived_anew()
    except ChainruleError:
        derivation = None
    finally:
        RULES[id] = rule
    if not used:
        raise UnusedError
    return derivation


def accepted(id: str, case: Case, limit: int, always: bool) -> tuple[int, list[str]]:
    """How many wrong rules were tried, and what they derive and `derive` hands out though a line differs by another
    semantics."""
    found: list[str] = []
    for number in range(limit):
        try:
            derivation = derived_with(id, number, case, always)
        except UnusedError:
            return number, found
        for use in (u for g in derivation.parts.values() for u in g.uses) if derivation else ():
            scene = of_lemma(use.lemma, EXTENTS)
            found += [f"{id} {number}: {line}" for line in scene.lines if not equivalent(scene, line)]
    return limit, found


@cache
def rules_of(name: str) -> set[str]:
    """The rules by which a case is derived."""
    return {step.rule for part in ALL[name].derivation.parts.values() for step in part.steps}


@pytest.mark.parametrize(
    ("id", "always"), few(product(RULES, [False, True]), [(id, n % 2 > 0) for n, id in enumerate(RULES)])
)
def test_deriving_refuses_a_mutated_rule(id: str, always: bool) -> None:
    cases = (name for name in (*COVERING, CHOOSING.name) if id in rules_of(name))
    runs = [accepted(id, ALL[name], 1, always) for name in islice(cases, 2)]
    assert [wrong for _, found in runs for wrong in found] == []
    assert sum(tried for tried, _ in runs) > 0, "no mutant was tried"


@pytest.mark.campaign
@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("id", RULES)
def test_deriving_refuses_every_mutant_of_a_rule(id: str, always: bool) -> None:
    runs = [accepted(id, case, 3, always) for case in ALL.values()]
    assert [wrong for _, found in runs for wrong in found] == []
    assert sum(tried for tried, _ in runs) > 0, "no mutant was tried"


def test_the_substitution_of_a_split_is_part_of_its_line() -> None:
    lemma = next(iter(CASES["conv1d_stride_3_kernel_2"].derivation.parts.values())).uses[0].lemma
    split = [s for s in lemma.all_steps if s.split]
    assert split and all(substitute(s.before, dict([s.split])) is not s.before for s in split if s.split)
