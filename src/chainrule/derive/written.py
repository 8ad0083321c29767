"""Derivatives that an equation is written with, `H[j, k] = D(D(f, w[j]), w[k])`, evaluated before anything else.

Each ∂ is evaluated where it stands, the innermost first, by the rules that derive gradients. So every line is an
identity of first derivatives, which is checked as a lemma's lines are, and the program that is derived, run and
compiled has no ∂ left in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chainrule.derive import algebra, eliminate
from chainrule.derive.lemma import adjoint_of, differentiate, rename_bound
from chainrule.derive.trace import Setting, Step, Trace
from chainrule.errors import DerivationError
from chainrule.ir.check import check_cost
from chainrule.ir.expr import Derivative, Expr, Tensor
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import nodes, transform

# A value that the forward pass knows is not put in: these lines are how the forward pass is made.
TIDY = tuple(rule for rule in algebra.TIDY if rule != "reuse")


@dataclass(frozen=True)
class Evaluation:
    """A derivative that `equation` is written with, and the steps that evaluate it."""

    equation: Equation
    derivative: Derivative
    steps: tuple[Step, ...]

    @property
    def result(self) -> Expr:
        return self.steps[-1].after if self.steps else self.derivative

    def __str__(self) -> str:
        """The trace, a step on each line, with the rule of each."""
        rows = [("", str(self.derivative)), *((step.rule, str(step.after)) for step in self.steps)]
        return "\n".join(f"{rule:22} {text}" for rule, text in rows)


def evaluated(program: Program) -> tuple[Program, tuple[Evaluation, ...]]:
    """The same program without derivatives, and how each was evaluated.

    Raises DerivationError where a derivative is taken of a tensor that the program computes from what it is taken by
    (its equation is not part of the expression), and where a maximum stands in one.
    """
    if not any(Derivative in e.value.types for e in program.equations):
        return program, ()
    equations: list[Equation] = []
    evaluations: list[Evaluation] = []
    for equation in program.equations:
        value = equation.value
        while Derivative in value.types:
            inner = next(n for n in nodes(value) if isinstance(n, Derivative) and Derivative not in n.of.types)
            _check_explicit(program, equation, inner)
            found = _evaluation(equation, inner)
            evaluations.append(found)
            value = _replaced(value, inner, found.result)
            check_cost(Equation(equation.target, value))
        equations.append(Equation(equation.target, value))
    return replace(program, equations=tuple(equations)), tuple(evaluations)


def _replaced(value: Expr, old: Expr, new: Expr) -> Expr:
    return transform(value, lambda node: new if node is old else node)


def _evaluation(equation: Equation, node: Derivative) -> Evaluation:
    of = rename_bound(node.of, list(node.free))
    setting = Setting(equation, node.wrt, adjoint_of(equation.tensor))
    trace = Trace(Derivative(of, node.wrt), setting)
    differentiate(trace)
    trace.apply_each(("zero", "unit", "distribute", "bracket", *eliminate.ELIMINATE))
    trace.settle(TIDY)
    if setting.auxiliary:
        raise DerivationError(
            "a derivative is taken of a maximum", about=equation,
            fix="max(a, b) and relu have one; a maximum over an index has none in an equation",
        )
    return Evaluation(equation, Derivative(of, node.wrt), tuple(trace.steps))


def _check_explicit(program: Program, equation: Equation, node: Derivative) -> None:
    """An expression that reads y, which another equation computes from x, would be differentiated as if y were
    constant."""
    depending: set[Tensor] = {node.wrt.tensor}
    for other in program.equations:
        if not depending.isdisjoint(other.value.tensors):
            depending.add(other.tensor)
    hidden: Sequence[Tensor] = [t for t in node.of.tensors if t in depending and t != node.wrt.tensor]
    if hidden:
        raise DerivationError(
            f"a derivative by {node.wrt.tensor.name} is taken of {hidden[0].name}, which another equation computes "
            f"from {node.wrt.tensor.name}", about=equation, fix=f"write what {hidden[0].name} is in its place",
        )
