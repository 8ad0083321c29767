"""Accuracy as equations: how many predictions are right, and of how many.

    found[n] = argmax[k](u[n, k])                       classes along the last axis
    wanted[n] = argmax[k](t[n, k])
    right = sum[n, k]([k == found[n]]*[k == wanted[n]]*counts[n])

    wrong[n] = step(sum[k](counts[n, k]*(step(u[n, k]) - step(t[n, k] - 1/2))**2))      yes or no for each output
    right = sum[n](has[n]*(1 - wrong[n]))                a sample is right where each of its outputs that counts is

Without weights everything counts; with weights, what has a weight above 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from chainrule.ir.expr import Tensor
from chainrule.ir.index import Extent
from chainrule.ir.program import Equation
from chainrule.ir.template import bound
from chainrule.nn.losses import Labels


@dataclass(frozen=True)
class Accuracy:
    """The equations, and the two scalars that they define."""

    equations: tuple[Equation, ...]
    right: Tensor
    counted: Tensor


def accuracy(labels: Labels, output: Tensor, target: Tensor, weight: Tensor | None) -> Accuracy | None:
    """The accuracy of an output against targets of the same shape; None where the targets are numbers.

    Where the output is (N, …, m) with classes along the last axis each position counts for itself.
    """
    if labels == "numbers":
        return None
    axes = ["n", *(f"a{axis}" for axis in range(1, len(output.shape)))]
    text = _classes(axes, output, weight) if labels == "classes" else _yes_or_no(axes, weight)
    given = {"u": output, "t": target} | ({} if weight is None else {"w": weight})
    equations = bound(text, given, lambda made: Tensor(f"accuracy.{made.name}", made.shape, made.dtype))
    return Accuracy(tuple(equations), equations[-2].tensor, equations[-1].tensor)


def _classes(axes: list[str], output: Tensor, weight: Tensor | None) -> str:
    *places, k = axes
    at, over = ", ".join(places), ", ".join(axes)
    every = f"{over}<{output.shape[-1]}"
    lines = [f"found[{at}] = argmax[{k}](u[{over}])", f"wanted[{at}] = argmax[{k}](t[{over}])"]
    hit = f"[{k} == found[{at}]]*[{k} == wanted[{at}]]"
    if weight is None:
        return "\n".join([*lines, f"right = sum[{every}]({hit})", f"counted = {_number(output.shape[1:-1])}*N"])
    own = ", ".join(axes[: min(len(weight.shape), len(places))])
    whole = len(weight.shape) == len(axes)
    lines.append(f"counts[{own}] = " + (f"max[{k}](step(w[{over}]))" if whole else f"step(w[{own}])"))
    others = _number(output.shape[len(weight.shape) : -1])
    right, counted = f"sum[{every}]({hit}*counts[{own}])", f"{others}*sum[{own}](counts[{own}])"
    return "\n".join([*lines, f"right = {right}", f"counted = {counted}"])


def _number(extents: tuple[Extent, ...]) -> int:
    return prod(e for e in extents if isinstance(e, int))


def _yes_or_no(axes: list[str], weight: Tensor | None) -> str:
    over, rest = ", ".join(axes), ", ".join(axes[1:])
    differ = f"(step(u[{over}]) - step(t[{over}] - 1/2))**2"
    if weight is not None:
        differ = f"step(w[{', '.join(axes[: len(weight.shape)])}])*{differ}"
    lines = [f"wrong[n] = step(sum[{rest}]({differ}))" if rest else f"wrong[n] = {differ}"]
    if weight is None:
        return "\n".join([*lines, "right = sum[n](1 - wrong[n])", "counted = 1*N"])
    own = axes[1 : len(weight.shape)]
    inner = ", ".join(own)
    lines.append(f"has[n] = step(sum[{inner}](step(w[n, {inner}])))" if own else "has[n] = step(w[n])")
    return "\n".join([*lines, "right = sum[n](has[n]*(1 - wrong[n]))", "counted = sum[n](has[n])"])
