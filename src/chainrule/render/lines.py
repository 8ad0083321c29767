"""Which steps of a trace make a line. The level of detail chooses the grouping, never other steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chainrule.derive.trace import Step
from chainrule.ir.expr import ZERO
from chainrule.ir.walk import nodes

Detail = Literal["brief", "standard", "full"]
DETAILS: tuple[Detail, ...] = ("brief", "standard", "full")
GROUPS: dict[str, str] = {
    "chain": "chain", "error_signal": "definition", "definition": "definition",
    "derivative.sum": "linearity", "derivative.reduction": "linearity", "derivative.product": "linearity",
    "derivative.independent": "linearity", "derivative.power": "power", "derivative.function": "function",
    "derivative.max": "max", "derivative.argmax": "argmax", "derivative.logsumexp": "logsumexp",
    "derivative.component": "component", "distribute": "distribute",
    "bracket": "bracket", "single": "bracket", "split": "split", "residues": "split",
    "radix": "split", "solve": "solve", "padding": "padding", "range": "padding", "law": "law", "reuse": "reuse",
    "collect": "algebra", "take_out": "algebra", "like_terms": "algebra", "constants": "algebra",
    "associate": "algebra", "zero": "algebra", "unit": "algebra", "cite": "cite",
}
ATTACHED = frozenset({"zero", "unit", "associate", "constants"})
"""Rules that only tidy: their steps belong to the line before."""
DERIVATIVES = frozenset({"linearity", "independent", "power", "function", "max", "argmax", "logsumexp", "component"})
MERGES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset({"law"}), frozenset({"reuse", "algebra"})),
    (frozenset({"reuse", "algebra"}), frozenset({"algebra", "reuse"})),
    (frozenset({"solve"}), frozenset({"padding"})),
    (DERIVATIVES - {"component"}, DERIVATIVES - {"component"}),
    (frozenset({"bracket", "split"}), frozenset({"bracket", "split"})),
    (DERIVATIVES, DERIVATIVES),
    (frozenset({"law", "reuse"}), frozenset({"reuse", "algebra", "law"})),
    (frozenset({"solve", "padding", "bracket"}), frozenset({"solve", "padding", "algebra"})),
)
"""Which neighbouring lines become one, in this order, where a lemma has more lines than it may."""
LIMIT = 6
"""Lines of a lemma in standard detail, its concise forms among them."""


@dataclass
class Run:
    """Steps that make one line, and their reasons in order."""

    reasons: list[str]
    steps: list[Step]


def group(steps: Sequence[Step], detail: Detail, limit: int) -> list[Run]:
    """Steps as lines: each its own in full; else by reason, at most `limit` where merging can do it."""
    runs: list[Run] = []
    rules = [step.rule for step in steps]
    for position, step in enumerate(steps):
        if detail == "full":
            runs.append(Run([step.rule], [step]))
            continue
        name = GROUPS[step.rule]
        if step.rule == "derivative.independent" and any(node is ZERO for node in nodes(step.after)):
            # Its zeros are cleared by a later step: the lines part so that none of them is printed.
            name = "linearity" if rules[position + 1 : position + 2] == ["zero"] else "independent"
        if runs and name == "bracket" and runs[-1].reasons == ["distribute"]:
            runs[-1] = Run([name], [*runs[-1].steps, step])
        elif runs and (step.rule in ATTACHED or runs[-1].reasons[-1] in (name, "independent")):
            runs[-1].steps.append(step)
            if name != runs[-1].reasons[-1] and step.rule not in ATTACHED:
                runs[-1].reasons.append(name)
        else:
            runs.append(Run([name], [step]))
    if detail == "full":
        return runs
    for first, second in MERGES:
        position = 1
        while len(runs) > limit and position < len(runs):
            before, run = runs[position - 1], runs[position]
            if before.reasons[-1] in first and run.reasons[0] in second:
                before.steps.extend(run.steps)
                before.reasons.extend(r for r in run.reasons if r not in before.reasons)
                del runs[position]
            else:
                position += 1
    return runs
