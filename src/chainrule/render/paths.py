"""The paths by which one component of a tensor reaches the loss, drawn: through one component of y, or through many."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.derive.lemma import Lemma
from chainrule.ir.expr import LOSS, Component, Expr, Multiply, Reduce, multiply, summed
from chainrule.ir.index import Affine, Index
from chainrule.ir.walk import components, substitute
from chainrule.render.document import Arrow, Figure, Inline, Spot, Text
from chainrule.render.names import Names
from chainrule.render.writer import Writer


class Paths:
    """The figure of one lemma. Each arrow into y has its derivative beside it: what stands beside δ in the result."""

    def __init__(self, writer: Writer, lemma: Lemma, names: Names) -> None:
        self.writer, self.lemma, self.names = writer, lemma, names

    def figure(self) -> Iterable[Figure]:
        """Nothing where the paths are not told apart by the result: for the loss, several pieces, long weights."""
        lemma, names = self.lemma, self.names
        if len(lemma.pieces) != 1 or names.is_loss(lemma.equation.tensor):
            return
        signal, over, weight = _parts(lemma.result, lemma.error_signal.name)
        if signal is None or Reduce in weight.types:
            return
        if signal.subscripts == lemma.pieces[0].equation.target.subscripts or len(over) > 1:
            return  # entry by entry there is nothing to draw; over a plane there is too much
        yield self.fan(signal, weight, over[0]) if over else self.single(signal, weight)

    def single(self, signal: Component, weight: Expr) -> Figure:
        x = Component(self.lemma.wrt.tensor, self.lemma.pieces[0].equation.target.subscripts)
        y = self.at(signal)
        spots = (Spot(0, 0, self.text(x)), Spot(1, 0, self.text(y)), Spot(2, 0, self.text(Component(LOSS, ()))))
        arrows = (Arrow(0, 1, self.text(weight)), Arrow(1, 2, self.text(signal)))
        return Figure(spots, arrows, self.writer.say("paths.single", **self.places(x, y)))

    def fan(self, signal: Component, weight: Expr, over: Index) -> Figure:
        """Through y at the first two values of the index and, where there are more, dots and the last."""
        extent = over.extent
        shown: list[int | None] = [0, 1] if extent != 1 else [0]
        if not isinstance(extent, int) or extent > 2:
            shown.append(None)
        if isinstance(extent, int) and extent > 2:
            shown.append(extent - 1)
        middle = (len(shown) - 1) // 2
        x = Component(self.lemma.wrt.tensor, self.lemma.pieces[0].equation.target.subscripts)
        spots = [Spot(0, middle, self.text(x)), Spot(2, middle, self.text(Component(LOSS, ())))]
        arrows: list[Arrow] = []
        for row, value in enumerate(shown):
            if value is None:
                spots.append(Spot(1, row, ("⋮",)))
                continue
            place = {over: Affine((), value)}
            here, factor = substitute(signal, place), substitute(weight, place)
            assert isinstance(here, Component)
            spots.append(Spot(1, row, self.text(self.at(here))))
            number = len(spots) - 1
            arrows += [Arrow(0, number, self.text(factor)), Arrow(number, 1, self.text(here))]
        caption = self.writer.say("paths.fan", **self.places(x, self.at(signal)))
        return Figure(tuple(spots), tuple(arrows), caption)

    def places(self, x: Component, y: Component) -> dict[str, Inline | Text]:
        parts = {"x": x, "y": y, "loss": Component(LOSS, ())}
        return {key: self.writer.math(part, names=self.names) for key, part in parts.items()}

    def at(self, signal: Component) -> Component:
        """The component of y that an error signal belongs to."""
        return Component(self.lemma.equation.tensor, signal.subscripts)

    def text(self, expr: Expr) -> Text:
        return (self.writer.math(expr, names=self.names),)


def _parts(result: Expr, signal: str) -> tuple[Component | None, tuple[Index, ...], Expr]:
    """The error signal in a result, the indices that it is summed over, and what stands beside it, with the sums over
    other indices; None where it is no such."""
    outer: list[Expr] = list(result.factors) if isinstance(result, Multiply) else [result]
    indices: tuple[Index, ...] = ()
    reduces = [f for f in outer if isinstance(f, Reduce) and f.kind == "sum"]
    if len(reduces) == 1:
        outer.remove(reduces[0])
        body = reduces[0].body
        outer += list(body.factors) if isinstance(body, Multiply) else [body]
        indices = reduces[0].indices
    found = [f for f in outer if isinstance(f, Component) and f.tensor.name == signal and f.pad is None]
    rest = multiply(f for f in outer if f not in found)
    if len(found) != 1 or any(c.tensor.name == signal for c in components(rest)):
        return None, (), rest
    own = found[0].free
    return found[0], tuple(i for i in indices if i in own), summed((i for i in indices if i not in own), rest)
