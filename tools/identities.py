"""The page of identities, docs/identities.md: every layer, loss and function, what it computes and its gradients.

Nothing is written by hand: each line is one of a derivation, at the small shapes of `chainrule.train.alone`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import chainrule as cr
from chainrule.ir.functions import CATALOGUE
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import LOSSES
from chainrule.render.backward import Backward
from chainrule.render.document import Cell
from chainrule.render.names import Names, Symbol
from chainrule.render.overview import Overview, shape_text
from chainrule.render.text import flat
from chainrule.train.alone import OWN, alone, equation_of

LEAD = """# Identities

Every layer, every loss and every function: what it computes, and the gradients by what it reads. Left by components,
right in matrix form. Formulas without a superscript (n) are for one sample, a column; f is any function of the output,
ℓ the loss of one sample, 𝓛 the mean of all; δ is the gradient of f by a linear output. All of it is derived and
checked, at the shapes given: `chainrule derive BatchNorm` has the reasons. `python tools/documents.py` writes the page.
"""
WIDEST = 60
"""Columns of the left side beyond which the right side stands below it."""


SECTIONS: dict[str, tuple[str, Iterable[str]]] = {
    "Layers": ("", [name for name in LAYERS if name not in OWN]),
    "Losses": ("", LOSSES),
    "Functions": ("Each entry by entry, of tensors of one shape.\n\n", CATALOGUE),
}


def page() -> str:
    """The text of the page."""
    parts = [LEAD]
    for title, (lead, names) in SECTIONS.items():
        parts.append(f"## {title}\n\n{lead}".rstrip("\n") + "\n")
        parts += [entry(name, of(name)) for name in names]
    return "\n".join(parts)


def of(name: str) -> cr.Derivation:
    """The derivation of one layer, loss or function."""
    text = equation_of(name)
    model = alone(name) if text is None else None
    return model.derive() if model is not None else cr.derive(text or name)


def entry(name: str, derivation: cr.Derivation) -> str:
    """One layer: shapes, the forward equations, the gradients."""
    overview, backward = Overview(derivation, "en", "standard"), Backward(derivation, "en", "standard")
    names = plain(backward.names, derivation)
    forward = [pair for e in overview.shown() for pair in pairs(*overview.both_forms(e, names))]
    gradients = [
        pair for _, rows in backward.pages() for row in rows
        for pair in pairs(*row.cells(backward, "", names, set())[1:])
    ]
    given = [t for t in (*derivation.forward.given, *derivation.forward.defined) if t.shape]
    shown = [t for t in given if t not in overview.running]
    letters = ((names.symbol(t), t) for t in shown if t.name in names.symbols)
    shapes = ", ".join(f"{s.stem}{f'^[{s.layer}]' if s.layer else ''}: {shape_text(t)}" for s, t in letters)
    lines = [*columns(forward), "", *columns(gradients)]
    return f"### {name}\n\n{shapes}\n\n" + "\n".join(["```text", *lines, "```", ""])


def plain(names: Names, derivation: cr.Derivation) -> Names:
    """Letters without the number of the layer, where no two are one then."""
    stems = Counter(symbol.stem for symbol in names.symbols.values())
    bare = frozenset(name for name, symbol in names.symbols.items() if stems[symbol.stem] == 1)
    signals = Counter(symbol.stem for symbol in names.signals.values())
    own = {name: Symbol(s.stem) if signals[s.stem] == 1 else s for name, s in names.signals.items()}
    return replace(names, bare=bare, signals=own)


def pairs(left: Cell, right: Cell) -> Iterable[tuple[str, str]]:
    """Each line by components with the one in matrix form, where there is one for all."""
    lines = [flat(text) for text in left]
    yield from ((line, flat(right[0]) if right and n == 0 else "") for n, line in enumerate(lines))


def columns(rows: Iterable[tuple[str, str]]) -> Iterable[str]:
    """Two columns; a right side stands below a left one that is long."""
    rows = list(rows)
    width = max((len(left) for left, _ in rows if len(left) <= WIDEST), default=0)
    for left, right in rows:
        if right and len(left) > width:
            yield from (left, " " * width + "   " + right)
        else:
            yield f"{left:<{width}}   {right}".rstrip()
