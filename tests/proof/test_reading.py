"""What is printed for Coq says what the line says: read back, it has the value that `semantics` gives the line. And the
rules are what they claim to be, as far as that can be seen without Coq."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.derive.adjoint import derive_equation
from chainrule.derive.fold import FOLDING
from chainrule.derive.scene import extents_for, of_lemma
from chainrule.derive.trace import RULES
from chainrule.derive.trial import point
from chainrule.ir.expr import ZERO, Apply, Component, Derivative, Reduce, Tensor
from chainrule.ir.index import Index
from chainrule.semantics.entries import evaluate
from chainrule.semantics.field import Field, execute, random_values
from chainrule.semantics.labelled import Labelled, size
from chainrule.verify.claims import of_piece, of_programs
from chainrule.verify.coq import theorems, words
from chainrule.verify.plan import every_lemma
from chainrule.verify.steps import step_check
from chainrule.verify.theorem import Theorem
from tests.derive.cases import ALL
from tests.proof.reader import MEANINGS, Number, Reader, flat, function
from tests.proof.windows import WINDOWS
from tests.verify.test_steps import PAIRS

READ = (
    "dense", "sigmoid", "softmax", "logsumexp", "quotient", "powers", "mean", "quadratic_form", "residual",
    "cross_entropy", "max_pool", "conv1d_stride_3_kernel_2", "conv1d_dilated", "volterra",
    "maximum_of_columns", "maximum_over_samples", "maximum_over_samples_first", "place_as_a_number", *WINDOWS,
)  # fmt: skip


STEPS = {
    "sgd": cr.SGD(momentum=0.9, nesterov=True), "rmsprop": cr.RMSProp(), "adagrad": cr.Adagrad(clip_value=0.5),
    "adam": cr.Adam(clip_norm=2.0),
}  # fmt: skip


def _scalar(field: Field, value: Number) -> Labelled:
    return Labelled((), np.asarray(value.value, dtype=np.uint64))


def _number(found: Labelled) -> Number:
    return Number(int(found.data))


def _functions(field: Field) -> dict[str, Any]:
    """Powers, logsumexp and functions of the catalogue, as the field has them."""

    def power(r: Fraction | int) -> Any:
        return lambda a: _number(field.power(_scalar(field, a), Fraction(r)))

    def window(n: int, f: Any) -> Labelled:
        return Labelled((Index("i", n),), np.array([f(k).value for k in range(n)], dtype=np.uint64))

    def logsumexp(n: int) -> Any:
        return lambda f: _number(field.logsumexp(window(n, f), (Index("i", n),)))

    def selected(n: int, f: Any) -> tuple[Labelled, Labelled]:
        return field.select(Reduce("max", (Index("i", n),), ZERO), window(n, f))

    def argmax(n: int) -> Any:
        return lambda f: int(selected(n, f)[0].data)

    def dpower(r: Fraction | int) -> Any:
        return lambda s: lambda a: (power(r)(a[0]), Number(r) * power(s)(a[0]) * a[1])

    def exp(a: Number) -> Number:
        return _number(field.apply("exp", [_scalar(field, a)]))

    def dmax(n: int) -> Any:
        return _over_window(n, lambda size, f: (
            _number(selected(size, lambda p: f(p)[0])[1]), f(argmax(size)(lambda p: f(p)[0]))[1]
        ))

    def dlogsumexp(n: int) -> Any:
        def dual(size: int, f: Any) -> tuple[Number, Number]:
            total = logsumexp(size)(lambda p: f(p)[0])
            terms = (exp(f(p)[0] + Number(-1) * total) * f(p)[1] for p in range(size))
            return total, sum(terms, Number(0))

        return _over_window(n, dual)

    return {
        "power": power, "dpower": dpower, "logsumexp": logsumexp, "dlogsumexp": dlogsumexp, "exp": exp, "dmax": dmax,
        "max": lambda n: lambda f: _number(selected(n, f)[1]), "argmax": argmax,
    }


def _over_window(n: int, dual: Callable[[int, Any], tuple[Number, Number]]) -> Any:
    """A dual number over the positions of a window of extents n and those of a list."""
    return lambda others: lambda f: dual(prod([n, *others]), flat(others, f))


def _applied(field: Field, f: str, values: Sequence[Number]) -> Number:
    tensors = [Tensor(f"a{n}", ()) for n in range(len(values))]
    given = {t.name: np.asarray(a.value, dtype=np.uint64) for t, a in zip(tensors, values, strict=True)}
    return Number(int(evaluate(field, Apply(f, tuple(Component(t, ()) for t in tensors)), given, ())))


def _curried(arity: int, f: Callable[..., Number]) -> Any:
    return f if arity == 1 else lambda a: _curried(arity - 1, lambda *others: f(a, *others))


def _given(theorem: Theorem, text: str, field: Field, arrays: dict[str, Any], at: dict[str, int]) -> dict[str, Any]:
    """The meaning of every name that the section declares, the gradient's indices being `at` some place."""
    env: dict[str, Any] = {**MEANINGS, **_functions(field), **at}
    for root, name in theorem.sizes.items():
        env[name] = size(theorem.extents.values[root], field.extents)
    for constant, name in theorem.constants.items():
        env[name] = Number(field.extents[constant.removeprefix("number_of_")])
    for tensor, name in theorem.tensors.items():
        if tensor.name in arrays:
            env[name] = _entry(np.asarray(arrays[tensor.name]), (), tensor.dtype == "integer")
    for function_name, arity in theorem.functions.items():
        name = theorem.function(function_name, arity)
        law = re.search(rf"^Hypothesis \w+ : forall ([\w ]+), {name} [\w ]+ = (.*)\.$", text, re.MULTILINE)
        if law:
            env[name] = function(law[1].split(), Reader(law[2]).read())(env)
        else:
            env[name] = _curried(arity, lambda *a, f=function_name: _applied(field, f, a))
    for name, own, value in re.findall(r"^Definition (\w+)((?: \(\w+ : Z\))*) : dual := (.*)\.$", text, re.MULTILINE):
        parameters = re.findall(r"\((\w+) : Z\)", own)
        env[name] = function(parameters, Reader(value).read())(env)
    gradient = re.search(r"^Hypothesis gradient_of_loss : .* -> snd \(loss v\) = (.*)\.$", text, re.MULTILINE)
    if gradient:
        env["loss"] = lambda v: (Number(0), Reader(gradient[1]).read()({**env, "v": v}))
    return env


def _entry(array: Any, at: Sequence[int], whole: bool) -> Any:
    """The entries of an array as a curried function; 0 outside, where a total function has some value too."""
    if len(at) == array.ndim:
        inside = all(0 <= i < n for i, n in zip(at, array.shape, strict=True))
        found = int(array[tuple(at)]) if inside else 0
        return found if whole else Number(found)
    return lambda i: _entry(array, (*at, i), whole)


def _differing(name: str, changed: Callable[[str], str] = lambda text: text) -> tuple[int, list[str]]:
    """How many values were compared over the lines of a case, and the lines whose text has another value."""
    derivation = {**ALL, **WINDOWS}[name].derivation
    extents = extents_for(derivation.forward, 2)
    looked, differing = 0, list[str]()
    for what, lemma in every_lemma(derivation):
        for number in range(len(lemma.pieces)) if not what.one_sample else ():
            theorem = Theorem(of_piece(lemma, number, what), "claim", 0)
            text = theorem.section()
            one = replace(lemma, pieces=lemma.pieces[number : number + 1])
            field = Field(extents, 11)
            evaluator = point(of_lemma(one, extents, forms=False), field)
            for line in dict.fromkeys(side for row in theorem.rows for side in (row.before, row.after)):
                if Derivative in line.types and any(s.plain is None for s in theorem.target):
                    continue  # semantics has no derivative by a component of a class
                expected = field.over(evaluator.value(line), line.free)
                printed = Reader(changed(theorem.line(line))).read()
                places = list(np.ndindex(expected.shape))
                filled = [place for place in places if expected[place]]  # most entries may be 0
                some = (place for each in (places, filled) for place in each[:: max(1, len(each) // 3)])
                for place in dict.fromkeys(some):
                    at = {theorem.index(i): 0 for s in theorem.target for i in s.indices}
                    at |= {theorem.index(i): k for i, k in zip(line.free, place, strict=True)}
                    value = printed(_given(theorem, text, field, dict(evaluator.given), at))
                    looked += 1
                    if value.value != int(expected[place]):
                        differing.append(f"{line} at {at}")
    return looked, differing


@pytest.mark.parametrize("name", READ)
def test_what_is_printed_has_the_value_of_the_line(name: str) -> None:
    looked, differing = _differing(name)
    assert looked and not differing


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("softmax", " * ", " + "), ("softmax", " + ", " * "), ("quotient", "(num (-1 # 1))", "(num (1 # 1))"),
        ("softmax", "snd ", "fst "), ("maximum", "(2 :: 3 :: nil)", "(3 :: 2 :: nil)"),
        ("maximum", "(6 * p_1 +", "(5 * p_1 +"), ("position", "joined E_q (fun p_1 q_1 r", "joined E_q (fun q_1 p_1 r"),
        ("logsumexp", "joined E_q (fun p2 q2 r2", "joined E_q (fun p2 r2 q2"),
    ],
)  # fmt: skip
def test_a_text_with_one_change_has_another_value(name: str, old: str, new: str) -> None:
    assert _differing(name, lambda text: text.replace(old, new))[1]


# Programs.


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("changed", [False, True])
def test_what_is_printed_of_a_step_has_the_value_of_its_program(name: str, changed: bool) -> None:
    """And another one where each product is a sum."""
    check, field, looked, differing = step_check(STEPS[name], PAIRS), Field({}, 11), 0, 0
    given = dict(random_values([*check.one.given], {}, 11))
    runs = [execute(program, given, seed=11, extents={}) for program in (check.one, check.other)]
    for value, claim in zip(check.names, of_programs(check), strict=True):
        theorem, (row,) = Theorem(claim, "claim", 0), claim.rows
        text = theorem.section()
        for line, run in zip((row.before, row.after), runs, strict=True):
            expected = field.lifted(run[value][0])
            shown = theorem.line(line)
            printed = Reader(shown.replace(" * ", " + ") if changed else shown).read()
            for place in list(np.ndindex(expected.shape))[::3]:
                free = (theorem.index(Index(f"i{n}", size)) for n, size in enumerate(expected.shape, 1))
                at = dict(zip(free, place, strict=True))
                looked += 1
                differing += printed(_given(theorem, text, field, given, at)).value != int(expected[place])
    assert looked > 10 and bool(differing) == changed


# The rules.


def test_every_rule_has_a_theorem_under_its_id_and_nothing_is_admitted() -> None:
    text = theorems()
    heads = re.findall(r"^\(\* ([a-z_.]+(?:, [a-z_]+)*)[ :*]", text, re.MULTILINE)
    assert {*RULES, *FOLDING} <= {id for head in heads for id in head.split(", ")}
    assert not re.search(r"\b(Admitted|admit|Axiom|Parameter|Conjecture|give_up)\b", text)


def test_a_name_belongs_to_one_thing() -> None:
    """Tensors that are called like words of Coq, of the rules or of each other's text."""
    text = "sum[n, k] = mul[n, k]*fun_[n, k] + x[n, k]*sigmoid(nat[k]) + E_k[k]"
    derivation = derive_equation(text)
    for what, lemma in every_lemma(derivation):
        theorem = Theorem(of_piece(lemma, 0, what), "claim", 0)
        theorem.section()
        names = [*theorem.tensors.values(), *theorem.sizes.values()]
        assert len(names) == len(set(names)) and not set(names) & words()
