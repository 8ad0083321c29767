"""The conventions that a derivation rests on: those of every document, and those that act in this one."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.derive.compose import composites
from chainrule.forms import whole
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.program import Equation
from chainrule.ir.walk import components
from chainrule.render.document import Text
from chainrule.render.lemmas import Lemmas
from chainrule.render.text import flat


class Conventions(Lemmas):
    def conventions(self) -> Iterable[Text]:
        """How gradients are laid out and what the 1/N is part of; then every choice at a kink or a tie."""
        if self.detail == "brief" or not self.derivation.lemmas:
            return
        items: list[Text] = [self.say("conventions.jacobian")] if composites(self.derivation) else []
        forward = self.derivation.forward
        weight = next((t for e in forward.equations for t in e.value.tensors if self.matrix(e, t)), None)
        if weight is not None:
            items.append(self.say("conventions.weights", W=self.math(whole(weight))))
        if any(SAMPLES in t.shape for t in forward.given) and not self.names.given:
            items.append(self.say("conventions.batch"))
        if any(len(part.uses) > 1 for part in self.derivation.parts.values()):
            items.append(self.say("conventions.uses"))
        found: dict[str, Text] = {}
        for lemma in self.derivation.lemmas:
            shown = lemma.sample or lemma
            for text in self.choices(shown):
                found.setdefault(flat(text), text)
        yield from (*items, *found.values())

    def matrix(self, equation: Equation, tensor: Tensor) -> bool:
        """Whether a parameter is a matrix that an equation multiplies by: read at an index of the result, then at one
        that is summed."""
        if tensor not in self.derivation.forward.parameters or len(tensor.shape) != 2:
            return False
        reads = [c for c in components(equation.value) if c.tensor == tensor]
        (row, column) = reads[0].subscripts
        own = equation.indices
        return all(i in own for i in row.indices) and not any(i in own for i in column.indices)
