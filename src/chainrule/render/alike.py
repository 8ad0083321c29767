"""Rows of the two passes that say once more, in other letters, what rows before them say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chainrule.forms import whole
from chainrule.ir.expr import Tensor
from chainrule.ir.program import Equation
from chainrule.ir.walk import components, kind
from chainrule.render.document import Text
from chainrule.render.formula import Nabla
from chainrule.render.writer import Writer

SHORTEST = 3
"""Rows from which a repetition is named instead of printed."""


@dataclass(frozen=True)
class Said:
    """What a row computes, and what it is explained by: rows are alike where these are."""

    equations: tuple[Equation, ...]
    reason: object


@dataclass(frozen=True)
class Repetition:
    """So many rows that repeat those from `first` on, with other tensors in the place of theirs."""

    count: int
    first: int
    tensors: Mapping[Tensor, Tensor]


def repetition(rows: Sequence[Said], printed: Mapping[int, Said]) -> Repetition | None:
    """The longest beginning of the rows that repeats printed ones, by their numbers, where it is long enough."""
    best: Repetition | None = None
    for first in printed:
        count = 0
        tensors: Mapping[Tensor, Tensor] = {}
        while count < len(rows) and first + count in printed:
            more = renamed(printed[first + count], rows[count], tensors)
            if more is None:
                break
            count, tensors = count + 1, more
        if count >= max(SHORTEST, best.count + 1 if best else 0):
            best = Repetition(count, first, tensors)
    return best


def renamed(old: Said, new: Said, known: Mapping[Tensor, Tensor]) -> Mapping[Tensor, Tensor] | None:
    """What stands in one row for each tensor of another, where nothing else differs and what is known holds on."""
    if old.reason != new.reason or not old.equations or len(old.equations) != len(new.equations):
        return None
    result = dict(known)
    for a, b in zip(old.equations, new.equations, strict=True):
        for x, y in ((a.target, b.target), (a.value, b.value)):
            if kind(x, a.indices) != kind(y, b.indices):
                return None
            for p, q in zip(components(x), components(y), strict=True):
                if result.setdefault(p.tensor, q.tensor) != q.tensor:
                    return None
    return result if len({*result.values()}) == len(result) else None


def swapped(writer: Writer, tensors: Mapping[Tensor, Tensor]) -> Text:
    """What stands for what, in words: letters that only move to another layer as one, gradients where another share is
    meant or one of them is an error signal."""
    names = writer.names
    letters: dict[str, str] = {}
    gradients: list[tuple[Tensor, Tensor]] = []
    for old, new in tensors.items():
        (a, share), (b, other) = (names.adjoints.get(t.name, (t.name, "")) for t in (old, new))
        letters[a] = b
        if share != other or (old.name in names.signals) != (new.name in names.signals):
            gradients.append((old, new))
    pairs = [(Tensor(a, ()), Tensor(b, ())) for a, b in letters.items()]
    symbols = [(names.symbol(a), names.symbol(b)) for a, b in pairs]
    moved = Counter((x.layer, y.layer) for x, y in symbols if x.stem == y.stem and x.layer != y.layer)
    together = [layers for layers, _ in moved.most_common(1)]
    told = [writer.say("backward.layer_for", old=old, new=new) for old, new in together]
    for (a, b), (x, y) in zip(pairs, symbols, strict=True):
        if x != y and (x.stem != y.stem or (x.layer, y.layer) not in together):
            told.append(writer.say("backward.for", old=writer.math(whole(a)), new=writer.math(whole(b))))
    for old, new in gradients:
        told.append(writer.say("backward.for", old=writer.math(Nabla(old)), new=writer.math(Nabla(new))))
    return writer.join(told)
