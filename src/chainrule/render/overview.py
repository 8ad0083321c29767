"""The first part of a document: the network's equations and the notation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from chainrule.derive.lemma import adjoint_of, one_sample
from chainrule.forms import walk, whole
from chainrule.forms.nodes import Entries, Fill, Operation, View, seen
from chainrule.ir.expr import LOSS, Component, Constant, Delta, Derivative, Size, Tensor
from chainrule.ir.index import SAMPLES, Affine, Index
from chainrule.ir.print import spelled
from chainrule.ir.program import Equation
from chainrule.ir.walk import kind
from chainrule.render.alike import Repetition, Said, repetition, swapped
from chainrule.render.document import Block, Cell, Code, Figure, Heading, Inline, Items, Paragraph, Table, Text
from chainrule.render.formula import Nabla
from chainrule.render.glance import Glance, Values
from chainrule.render.names import LAYER, Names, Symbol
from chainrule.render.writer import concise_forward, concise_of, coupled, runs_of, tensors_of

SIGNS: dict[str, tuple[str, ...]] = {
    "correlate": ("correlate",), "convolve": ("convolve",), "sampled": ("up", "down"), "margin": ("pad",),
    "pool": ("maxpool", "argmaxpool"), "unpool": ("unpool",),
}
"""Sentences about signs, and the operators that are written with them."""


FEW = 10
"""Given tensors up to which a sentence names them; more have a table."""


class Overview(Glance):
    """The forward pass, layer by layer, and what the signs mean."""

    def network(self, circuit: Figure | None, example: Values | None) -> Iterable[Block]:
        """`circuit` is the figure of a small network; in others the numbers of the `example` stand beside layers."""
        equations = self.shown()
        single = len(equations) == 1
        yield Heading(1, self.say("network.equation_heading" if single else "network.heading"))
        yield from self.at_a_glance(circuit, example)
        lead = self.say("network.equation_lead" if single else "network.lead")
        yield Paragraph((*self.say("glance.counted"), " ", *lead) if self.several else lead)
        rows: list[tuple[Cell, ...]] = []
        printed: dict[int, Said] = {}
        codes: list[Text] = []
        for numbers, members, names in self.blocks(equations):
            said = [Said((one_sample(e) or e,), one_sample(e) is None) for e in members]
            skipped = 0
            for place, equation in enumerate(members):
                if skipped:
                    skipped -= 1
                    continue
                found = repetition(said[place:], printed) if len(numbers) == 1 and self.detail != "full" else None
                if found is not None:
                    skipped = found.count - 1
                    rows.append(self.repeated(members[place : place + found.count], codes[found.first :], found))
                    continue
                code: Text = (Code(spelled(equation.tensor)),)
                if len(numbers) > 1:
                    code = self.say("network.layers", range=self.range(numbers))
                rows.append(((code,), *self.both_forms(equation, names)))
                if len(numbers) == 1:
                    printed[len(codes)] = said[place]
                codes.append(code)
        yield Table((self.say("network.code"), self.say("network.components"), self.say("network.matrix")), tuple(rows))
        if self.names.given:
            for equation in equations:
                if adjoint_of(equation.tensor) in self.derivation.backward.inputs:
                    y = equation.target
                    own, given = Component(adjoint_of(y.tensor), y.subscripts), Derivative(Component(LOSS, ()), y)
                    signal = self.math(*((own, "=", given) if self.names.signal(own.tensor) else (given,)))
                    yield Paragraph(
                        self.say(
                            "network.equation_signal", signal=signal, loss=self.math(Component(LOSS, ())),
                            y=self.math(whole(y.tensor)),
                        )
                    )

    def repeated(self, equations: Sequence[Equation], first: Sequence[Text], found: Repetition) -> tuple[Cell, ...]:
        """One row for equations that say what earlier ones say."""
        ends = (*first[0], "–", *first[found.count - 1])
        own = (Code(spelled(equations[0].tensor)), "–", Code(spelled(equations[-1].tensor)))
        places = {"first": ends, "substitution": swapped(self, found.tensors)}
        return (own,), (self.say("network.repeated", **places),), ()

    def both_forms(self, equation: Equation, names: Names) -> tuple[Cell, Cell]:
        """The equation by components and, where it has one, in matrix form; for one sample where it can be."""
        sample = one_sample(equation)
        view = names.of_batch() if coupled(equation) else names
        shown = sample or equation
        components_form = self.math(shown.target, "=", shown.value, names=view)
        form = concise_forward(shown)
        if form is None:
            return ((components_form,),), ()
        return ((components_form,),), ((self.math(form.left, "=", form.right, names=view),),)

    def shown(self) -> list[Equation]:
        """The forward equations but for running statistics; in brief, only those that the loss and its gradients
        need."""
        forward, backward = self.derivation.forward, self.derivation.backward
        if self.detail != "brief" or self.derivation.loss is None:
            return [e for e in forward.equations if e.tensor not in self.running]
        needed = {self.derivation.loss, *(t for e in backward.equations for t in e.value.tensors)}
        for equation in reversed(forward.equations):
            if equation.tensor in needed:
                needed.update(equation.value.tensors)
        return [e for e in forward.equations if e.tensor in needed]

    def blocks(self, equations: Sequence[Equation]) -> Iterable[tuple[list[int], list[Equation], Names]]:
        """The equations layer by layer; a run of equal layers once, with ℓ for their numbers."""
        layers: list[tuple[int, list[Equation]]] = []
        for equation in equations:
            number = self.names.layer(equation.tensor) or 0
            if layers and layers[-1][0] == number:
                layers[-1][1].append(equation)
            else:
                layers.append((number, [equation]))

        def signature(entry: tuple[int, list[Equation]]) -> object:
            number, members = entry
            same = tuple((kind(e.value, e.indices), self.relative_names(tensors_of(e), number)) for e in members)
            return (id(members), same) if number < 1 else same

        for run in runs_of(layers, signature):
            numbers = [block[0][0] for block in run]
            members = [equation for _, own in run[0] for equation in own]
            yield numbers, members, self.names.relative(numbers[0]) if len(run) > 1 else self.names

    def notation(self, conventions: Iterable[Text]) -> Iterable[Block]:
        """What symbols mean, and the choices that were made; then the names in code."""
        program = self.derivation.forward
        yield Heading(1, self.say("notation.heading"))
        scalar = Component(LOSS, ())
        given = self.names.given
        items: list[Text] = []
        if any(SAMPLES in t.shape for t in (*program.given, *program.defined)):
            n, size = self.math("n"), self.math(Size(SAMPLES))
            if given and any(one_sample(e) for e in program.equations):
                items.append(self.say("notation.samples_given", n=n, N=size))
            elif any(one_sample(e) for e in program.equations):
                one, all_ = self.math(scalar), self.math(scalar, names=self.batch)
                items.append(self.say("notation.samples", n=n, N=size, sample_loss=one, batch_loss=all_))
            else:
                items.append(self.say("notation.coupled", n=n, N=size))
        if any(symbol.layer for symbol in self.names.symbols.values()):
            items.append(self.say("notation.layers", l=self.math(LAYER)))
        v = Tensor("v", (1,))
        view = replace(
            self.names, symbols={**self.names.symbols, "v": Symbol("v")},
            adjoints={**self.names.adjoints, adjoint_of(v).name: ("v", "")}, signals={}, bare=frozenset({"v"}),
        )
        items.append(
            self.say(
                "notation.gradient", nabla=self.math(Nabla(adjoint_of(v)), names=view),
                v=self.math(whole(v), names=view), loss=self.math(scalar),
            )
        )
        items.extend(self.signal_notation())
        i, k = Index("i", 2), Index("k", 2)
        bracket = Delta(Affine.of(k), Affine.of(i))
        items.append(self.say("notation.bracket", bracket=self.math(bracket), k=self.math("k"), i=self.math("i")))
        items.append(self.say("notation.primes", i=self.math("i"), i1=self.math("i′"), i2=self.math("i″")))
        items.append(self.say("notation.hadamard"))
        items.extend(self.form_notation())
        items.extend(conventions)
        rows, constants = self.symbols(), self.constants_named()
        if 0 < len(rows) <= FEW:
            told = (self.say("notation.known", symbol=row[0][0], code=row[1][0], shape=row[2][0]) for row in rows)
            closing = (*self.say("notation.stop"), *(self.say("notation.space") if constants else ()), *constants)
            items.append((*self.say("notation.given_tensors"), *self.join(told), *closing))
            rows, constants = [], ()
        yield Items(tuple(items))
        if constants:
            yield Paragraph(constants)
        if rows:
            header = (self.say("notation.symbol"), self.say("notation.code"), self.say("notation.shape"))
            yield Table(header, tuple(rows))

    def signal_notation(self) -> Iterable[Text]:
        """δ and Δ; Δ alone where no layer's δ is that of one sample."""
        parts = self.derivation.parts
        defined = [e.tensor for e in self.derivation.forward.equations if self.layers and e.tensor.name in parts]
        signals = [t for t in defined if adjoint_of(t).name in self.names.signals]
        alone = [t for t in signals if all(map(self.derivation.sample, parts[t.name].uses))]
        for tensor in (alone or signals)[:1]:
            gradient = Nabla(adjoint_of(tensor))
            local = self.names.relative(self.names.layer(tensor) or 0)
            capital = self.math(gradient, names=local.of_batch())
            loss = self.math(Component(LOSS, ()), names=self.names if alone else self.batch)
            places = {"l": self.math(LAYER), "loss": loss}
            if alone:
                yield self.say("notation.signal", delta=self.math(gradient, names=local), **places)
                yield self.say("notation.signal_batch", capital=capital)
            else:
                yield self.say("notation.signal_coupled", capital=capital, **places)

    def form_notation(self) -> Iterable[Text]:
        """What concise forms are written with, as far as this document has them."""
        shown = [e for equation in self.derivation.forward.equations for e in (equation, one_sample(equation)) if e]
        lemmas = [x for lemma in self.derivation.lemmas for x in (lemma, lemma.sample) if x is not None]
        forms = [form for form in (*map(concise_forward, shown), *map(concise_of, lemmas)) if form is not None]
        inside = [(form.family, node) for form in forms for node in walk(form.right)]
        names = {node.name for _, node in inside if isinstance(node, Operation)}
        found = [key for key, signs in SIGNS.items() if names.intersection(signs)]
        sums = (node for _, node in inside if isinstance(node, Operation) and node.name == "plus")
        if any(isinstance(part, Fill) and part.shape != (1, 1) for node in sums for part in node.of):
            yield self.say("notation.number")
        if {"correlate", "convolve", "pool", "unpool"}.intersection(found):
            c, h, w = (Affine.of(Index(name, 2)) for name in "chw")
            x = Tensor("v", (2, 2, 2))
            view = replace(self.names, symbols={**self.names.symbols, "v": Symbol("v")}, signals={})
            plane = self.math(seen(x, (c, None, None)), names=view)
            yield self.say("notation.planes", plane=plane, whole=self.math(Component(x, (c, h, w)), names=view))
            yield from (self.say(f"notation.{key}") for key in found)
        if any(isinstance(node, View) and node.joined for _, node in inside):
            yield self.say("notation.vec")
        blocks = [node for family, node in inside if family == "blocks" and isinstance(node, View) and None in node.at]
        for block in [view for view in blocks if any(s.indices for s, _ in view.fixed)][:1]:
            samples = any(s is None and e == SAMPLES for s, e in zip(block.at, block.view, strict=True))
            yield self.say("notation.block", block=self.math(block, names=self.batch if samples else None))
        given = [node for _, node in inside if isinstance(node, Entries) and node.axes]
        for entries in given[:1]:
            yield self.say("notation.entries", entries=self.math(entries), entry=self.math(entries.entry))
        if names & {"onehot", "onehot_rows"}:
            yield self.say("notation.onehot")
        if names & {"softmax", "softmax_rows"}:
            yield self.say("notation.softmax")

    def constants_named(self) -> Text:
        """What the letters of numbers stand for."""
        bare = replace(self.names, constants={})
        said: list[Inline] = []
        for value, letter in self.names.constants.items():
            places = {"letter": self.math(letter), "value": self.math(Constant(value), names=bare)}
            said += (*(self.say("notation.space") if said else ()), *self.say("notation.constant", **places))
        return tuple(said)

    def symbols(self) -> list[tuple[Cell, ...]]:
        """Of each given tensor its symbol, name in code, and shape; many with one letter share a row."""
        by_stem: dict[str, list[Tensor]] = {}
        for tensor in (t for t in self.derivation.forward.given if t not in self.running):
            by_stem.setdefault(self.names.symbol(tensor).stem, []).append(tensor)
        rows: list[tuple[Cell, ...]] = []
        for group_ in by_stem.values():
            if len(group_) > 4:
                ends = (group_[0], group_[-1])
                symbol: Text = (self.math(whole(ends[0]), ", …, ", whole(ends[1])),)
                code: Text = (Code(spelled(ends[0])), ", …, ", Code(spelled(ends[1])))
                shapes = [*map(shape_text, group_)]
                shown = shapes[:1] if len(set(shapes)) == 1 else shapes
                rows.append(((symbol,), (code,), ((", ".join(shown),),)))
            else:
                rows.extend(
                    (((self.math(whole(t)),),), ((Code(spelled(t)),),), ((shape_text(t),),)) for t in group_
                )
        return rows


def shape_text(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "1"
