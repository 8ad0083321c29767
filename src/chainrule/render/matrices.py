"""Matrices of numbers as pictures: the Jacobian that takes a gradient back from one vector to another, and what the
gradient of a normalisation folds to, term by term."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import islice

import numpy as np

from chainrule.derive import algebra, eliminate
from chainrule.derive.fold import Fold
from chainrule.derive.lemma import Lemma, adjoint_of, one_sample
from chainrule.derive.trace import Setting
from chainrule.forms.nodes import Jacobian, operation, whole
from chainrule.ir.expr import Add, Component, Constant, Delta, Derivative, Expr, Multiply, Reduce, Tensor, multiply
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.program import Equation
from chainrule.ir.walk import bound, fresh, rename, transform
from chainrule.render.document import Figure, Spot
from chainrule.render.example import BROAD, SHOWN, Numbered, exact
from chainrule.render.formula import Nabla, Part
from chainrule.render.pieces import Numbers
from chainrule.render.sample import NOISE
from chainrule.render.windows import MANY
from chainrule.semantics.entries import evaluate
from chainrule.semantics.exact import Exact as ByHand
from chainrule.semantics.labelled import Array, size


class Matrices(Numbered):
    def figures(self) -> Iterable[Figure]:
        """The first Jacobian and the first fold, unless they are of one layer of many."""
        if len(self.derivation.forward.equations) <= MANY:
            yield from islice(self.jacobians(), 1)
            yield from islice(self.folded(), 1)

    @cached_property
    def drawn(self) -> set[Tensor]:
        """What a picture has all numbers of."""
        return set()

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """All numbers; where there is one sample, without its axis."""
        result: dict[str, Array] = {}
        for name, own in self.sample.values.items():
            array = np.empty([1 + max(axis) for axis in zip(*own, strict=True)], object)
            for place, value in own.items():
                array[place] = value
            samples = (n for n, e in enumerate(self.tensors[name].shape) if e == SAMPLES and self.single)
            result[name] = array.squeeze(tuple(samples))
        return result

    def evaluated(self, value: Expr, indices: Sequence[Index]) -> Numbers:
        """A number, a column or a matrix, over as many indices; what rounding leaves of a 0 is 0."""
        found = evaluate(ByHand(self.sample.sizes), value, self.arrays, tuple(indices))
        noise = NOISE * max(abs(float(v)) for v in found.ravel())
        entries = np.array([exact(v) if abs(float(v)) > noise else Fraction(0) for v in found.ravel()], object)
        return entries_of(entries.reshape(found.shape))

    def count_of(self, indices: Iterable[Index]) -> int:
        return int(np.prod([size(i.extent, self.sample.sizes) for i in indices]))

    # --- a Jacobian -----------------------------------------------------------------------------

    def jacobians(self) -> Iterable[Figure]:
        """Of vectors each of whose components comes from all of another vector, and from nothing else."""
        for lemma in self.derivation.lemmas if self.single else ():
            shown = self.derivation.sample_of(lemma)
            sums = [n for n in (shown.equation.value.types if shown else ()) if n is Reduce]
            if shown is None or not sums or len(shown.equation.value.tensors) != 1:
                continue
            y, x = shown.equation.target, shown.wrt
            small = shown.whole and all(len(c.free) == 1 and len(c.tensor.shape) == 1 for c in (x, y))
            if small and self.count_of(y.free) <= BROAD and adjoint_of(x.tensor).name in self.arrays:
                yield self.jacobian(shown)

    def jacobian(self, lemma: Lemma) -> Figure:
        y, x = lemma.equation.target, lemma.wrt
        (k,), (i,) = y.free, x.free
        j = fresh("j", k.extent, (*bound(lemma.result), i))
        numbers = self.evaluated(Derivative(rename(lemma.equation.value, {k: j}), x), (i, j))
        before, after = (adjoint_of(c.tensor) for c in (y, x))
        back = operation("matmul", operation("transpose", Jacobian(y.tensor, x.tensor)), whole(before))
        signal, result = (self.evaluated(Component(t, c.subscripts), c.free) for t, c in ((before, y), (after, x)))
        text = self.math(Nabla(after), "=", back, "=", numbers, "·", signal, "=", result)
        entry = self.math(Derivative(Component(y.tensor, (Affine.of(j),)), x), "=", self.entry(lemma, j))
        return Figure((Spot(0, 0, (text,)),), (), self.say("figure.jacobian", entry=entry))

    def entry(self, lemma: Lemma, j: Index) -> Expr:
        """∂y_j/∂x_i: what the lemma makes of an error signal that is 1 at j and 0 elsewhere."""
        setting = Setting(lemma.equation, lemma.wrt, lemma.error_signal)

        def at(node: Expr) -> Expr:
            if isinstance(node, Component) and node.tensor == lemma.error_signal:
                return Delta(node.subscripts[0], Affine.of(j))
            return eliminate.bracket(node, setting) if isinstance(node, Reduce) else node

        return algebra.unit(transform(lemma.result, at), setting)

    # --- a fold ---------------------------------------------------------------------------------

    def folded(self) -> Iterable[Figure]:
        """Of normalisations: (factor)·(a − b − c), where the values named by the fold and all terms are small."""
        for fold in self.derivation.folds:
            result = Equation(fold.target, fold.result)
            result = (one_sample(result) if self.single else None) or result
            factors = result.value.parts if isinstance(result.value, Multiply) else ()
            sums = [f for f in factors if isinstance(f, Add)]
            small = self.count_of(result.indices) <= SHOWN and len(result.indices) < 3
            if fold.inner and fold.names and len(sums) == 1 and small and self.values(result.tensor):
                yield self.terms(fold, result, sums[0], multiply(f for f in factors if f is not sums[0]))

    def terms(self, fold: Fold, result: Equation, total: Add, factor: Expr) -> Figure:
        """What goes in, and then the formula with the numbers of its terms."""
        view = self.names if self.single else self.batch
        gradient = adjoint_of(result.target.tensor)
        y = fold.sinks[0].tensor
        signal = adjoint_of(y)
        shown = (*((t, whole(t)) for t in (fold.target.tensor, fold.names[-1].tensor, y)), (signal, Nabla(signal)))
        parts: list[Part] = []
        for term in total.terms:
            negative = isinstance(term, Multiply) and term.factors[0] == Constant(Fraction(-1))
            own = multiply(term.factors[1:]) if isinstance(term, Multiply) and negative else term
            parts += [*(["−"] if negative else ["+"] if parts else []), self.over(own, result)]
        scale, sign = self.over(factor, result), "⊙" if factor.free else "·"
        numbers = self.over(Component(gradient, result.target.subscripts), result)
        formula = self.math(Nabla(gradient), "=", scale, sign, "(", *parts, ")", "=", numbers, names=view)
        self.drawn.update(self.tensors[t.name] for t, _ in (*shown, (gradient, None)))
        given = ((self.math(symbol, "=", *self.whole(t) or (), names=view),) for t, symbol in shown)
        spots = (Spot(0, 0, self.join(given, "document.semicolon")), Spot(0, 1, (formula,)))
        return Figure(spots, (), self.say("figure.fold"))

    def over(self, value: Expr, of: Equation) -> Numbers:
        """The numbers of a part of a formula; in one for a matrix, a row or a column where it has one index."""
        own = [i for i in of.indices if i in value.free]
        found = self.evaluated(value, own)
        if len(of.indices) < 2 or len(own) != 1 or not isinstance(found.values, tuple):
            return found
        column = np.array(found.values, object)[:, None]
        return entries_of(column if own[0] == of.indices[0] else column.T)


def entries_of(array: Array) -> Numbers:
    """A number, a column or a matrix."""
    if array.ndim < 2:
        return Numbers(tuple(array) if array.ndim else array.item())
    return Numbers(tuple(tuple(row) for row in array))
