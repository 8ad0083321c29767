"""Layers that are known by one formula: the gradient by all their paths, and how it folds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from chainrule.derive.check import forms_hold
from chainrule.derive.fold import Fold, is_root
from chainrule.derive.lemma import adjoint_of
from chainrule.derive.trace import Step
from chainrule.forms import Form, concise, whole
from chainrule.ir.expr import Component, Reduce
from chainrule.ir.walk import kind, nodes
from chainrule.render.component import bounded
from chainrule.render.concise import shape_check
from chainrule.render.document import Block, Heading, Inline, Line, Lines, Paragraph, Text
from chainrule.render.formula import Formula, Part
from chainrule.render.names import Names
from chainrule.render.writer import Writer, tensors_of

PHASES = {"uses": "uses", "cite": "cite", "vanish": "cite", "zero": "cite"}
"""Which steps make one line: the sum over the uses, what is put in, and then the folding."""


def ranged(numbers: Sequence[int]) -> str:
    """3–8 for neighbours, 3, 5 for others."""
    first, last = numbers[0], numbers[-1]
    run = len(numbers) > 2 and list(numbers) == list(range(first, last + 1))
    return f"{first}–{last}" if run else ", ".join(map(str, numbers))


@dataclass(frozen=True)
class FoldForm:
    """Both sides of a folded formula in concise form."""

    left: tuple[Part, ...]
    right: Form


class Folded(Writer):
    """Each kind of fold once, line by line, and its formula for every layer."""

    def folds(self) -> Iterable[Block]:
        seen: set[int] = set()
        for fold in self.derivation.folds:
            if fold.inner and (number := self.fold_number(fold)) not in seen:
                seen.add(number)
                beside = (f for f in self.derivation.folds if not f.inner and f.forward == fold.forward)
                yield from self.fold(number, fold, tuple(beside))

    def fold_number(self, fold: Fold) -> int:
        """The number, from 1, by which a layer's folds are cited: one for all of a kind, in full detail its own."""
        kinds = [self.fold_kind(other) for other in self.derivation.folds]
        return list(dict.fromkeys(kinds)).index(self.fold_kind(fold)) + 1

    def fold_kind(self, fold: Fold) -> object:
        return fold.forward if self.detail == "full" else tuple(kind(e.value, e.indices) for e in fold.forward)

    def fold(self, number: int, fold: Fold, beside: Sequence[Fold]) -> Iterable[Block]:
        """The values that are named, how the gradient folds, and others that are shorter with these names."""
        names = self.fold_names(fold)
        x, y = (self.math(whole(t), names=names) for t in (fold.target.tensor, fold.sinks[0].tensor))
        yield Heading(2, self.say("fold.title", number=str(number), x=x, y=y))
        named = ((self.math(name.target, "=", name.value, names=names),) for name in fold.names)
        with_ = self.say("fold.with", named=self.join(named)) if fold.names and self.detail != "full" else ()
        yield Paragraph((*self.say("fold.lead"), *with_))
        rows: list[tuple[Formula | None, Formula, Text]] = []
        for name in fold.names if self.detail == "full" else ():
            reason = self.say(f"fold.{'root' if is_root(name.tensor) else 'quotient'}")
            rows.append((self.math(name.target, names=names), self.math("=", name.value, names=names), reason))
        for each in (fold, *beside):
            rows += self.fold_rows(each, names)
        yield Lines(tuple(Line(f"F{number}.{i}", *row) for i, row in enumerate(rows, 1)))

    def fold_rows(self, fold: Fold, names: Names) -> Iterable[tuple[Formula | None, Formula, Text]]:
        left: Formula | None = self.math(fold.steps[0].before if fold.whole else fold.shares, names=names)
        for steps in self.phases(fold):
            yield left, self.math("=", steps[-1].after, names=names), self.fold_reason(steps, fold, names)
            left = None
        form = self.fold_form(fold)
        if form is not None and self.detail != "standard":
            # In standard, the backward pass has it for each layer.
            check = shape_check(form.right)
            reason = self.say("lemma.checked", check=self.math(check)) if check else self.say("lemma.matrix")
            yield self.math(*form.left, names=names), self.math("=", form.right, names=names), reason

    def fold_names(self, fold: Fold) -> Names:
        """The names within a fold: about all samples, without the layers where letters differ."""
        involved = [t for e in (*fold.forward, *fold.names) for t in tensors_of(e)]
        exprs = [e for step in fold.steps for e in (step.before, step.after)]
        local = self.names.local(involved, adjoint_of(fold.sinks[0].tensor))
        return self.view(replace(local, bounded=frozenset(bounded(*exprs))), False)

    def fold_form(self, fold: Fold) -> FoldForm | None:
        """The concise form of the folded formula, where it has one that holds; on its left side the gradient, or the
        sum of this layer's shares in it."""
        shares = [adjoint_of(fold.target.tensor)] if fold.whole else [use.contribution for use in fold.uses]
        forms = [concise(Component(share, fold.target.subscripts), fold.result) for share in shares]
        if not forms_hold(fold) or forms[0] is None:
            return None
        left = (part for form in forms if form is not None for part in ("+", form.left))
        return FoldForm(tuple(left)[1:], forms[0].right)

    def phases(self, fold: Fold) -> Sequence[Sequence[Step]]:
        """The steps as lines: each its own in full detail; one in brief, and for what is shorter with the names."""
        steps = fold.steps if fold.whole else fold.steps[1:]
        if self.detail == "full":
            return [(step,) for step in steps]
        found = [tuple(group) for _, group in groupby(steps, key=lambda step: PHASES.get(step.rule, "folded"))]
        if not fold.inner:
            return [tuple(steps)]
        return found[-1:] if self.detail == "brief" else found

    def fold_reason(self, steps: Sequence[Step], fold: Fold, names: Names) -> Text:
        if self.detail == "full":
            return self.say(f"rule.{steps[0].rule}")
        cited = sorted({self.derivation.number(use.lemma) for use in fold.involved})
        inner = self.join((self.math(whole(g.tensor), names=names),) for g in fold.inner)
        named = self.join((self.math(whole(name.tensor), names=names),) for name in fold.names)
        places: dict[str, Inline | Text] = {"inner": inner, "named": named, "count": str(len(fold.uses))}
        places |= {"x": self.math(whole(fold.target.tensor), names=names)}
        places |= {"numbers": ranged(cited), "number": str(cited[0])}
        key = PHASES.get(steps[-1].rule, "folded" if fold.inner and fold.names else "named" if fold.names else "factor")
        keys = [key] if fold.inner else dict.fromkeys(("lemma", "lemma" if key == "cite" else key))
        said = [self.say(f"fold.{key}", **places) for key in keys]
        for step in steps:
            if step.rule == "vanish":
                gone = next(n for n in nodes(step.before) if isinstance(n, Reduce) and n not in nodes(step.after))
                said.append(self.say("fold.vanish", sum=self.math(gone, "=", "0", names=names)))
        return self.join(said, "document.semicolon")
