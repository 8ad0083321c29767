"""A whole network as one theorem: its lemmas put together by the chain rule (`proof/Compose.v`), over any ring and, by
`proof/Real.v`, over the real numbers. Along every direction of the parameters the loss moves as the gradient says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from chainrule.derive import Derivation
from chainrule.derive.adjoint import Use
from chainrule.derive.subject import Subject
from chainrule.ir.expr import Expr, Guard, Tensor
from chainrule.ir.functions import CATALOGUE, split_derivative
from chainrule.ir.index import Extent, Index
from chainrule.verify.claims import of_piece
from chainrule.verify.coq import Printer, UnprintableError, words
from chainrule.verify.theorem import Theorem

REAL_AXIOMS = frozenset({
    "ClassicalDedekindReals.sig_forall_dec", "ClassicalDedekindReals.sig_not_dec",
    "FunctionalExtensionality.functional_extensionality_dep", "Classical_Prop.classic",
})  # fmt: skip
"""What Coq's real numbers stand on; a theorem about them may rest on these and no other."""
_SMOOTH = ("exp", "expm1", "sigmoid", "tanh", "sin", "cos", "softplus")
"""Functions of the catalogue whose law `Real.v` proves everywhere."""
_OVER_R = (
    ("K", "R"), ("zero", "0%R"), ("one", "1%R"), ("num", "Q2R"), ("sum", "sum R 0 Rplus"), ("bracket", "bracket R 0 1"),
    ("read", "read R"), ("power", "rpower"), ("logsumexp", "rlogsumexp"), ("max", "rmax"), ("argmax", "rargmax"),
)  # fmt: skip
"""What the words of a line are over the real numbers."""
_INSTANCE = (
    "R 0 1 Rplus Rmult Rminus Ropp Q2R R_ring R_numbers rpower rpower_one exp rmax rlogsumexp rargmax max_same",
    "argmax_same logsumexp_same max_of_one curve curve_still curve_line curve_add curve_mul curve_left curve_right",
    "curve_sum curve_read curve_exp curve_logsumexp",
)
"""The variables and hypotheses of Rules.v and Compose.v, by Real.v."""


class Network(Printer):
    """The forward and the backward program of a derivation, its parameters moved together, and the theorem."""

    def __init__(self, derivation: Derivation) -> None:
        super().__init__()
        if derivation.loss is None:
            raise UnprintableError("no loss")
        self._taken |= words("Compose.v") | words("Real.v")
        self.derivation, self.loss = derivation, derivation.loss
        self.parameters = tuple(p for p in derivation.forward.parameters if p.name in derivation.gradients)
        self.uses = self._reached()
        moving = dict.fromkeys(t for use in self.uses for t in (use.tensor, use.equation.tensor))
        self.moving = frozenset(moving)
        self.operand: Tensor | None = None
        """The one that moves alone, along a list of numbers d."""
        self.programs: list[str] = []
        """The definitions of the forward pass, of the backward pass, and of the forward pass along a path."""
        self.lemmas: list[str] = []
        """The sections of the uses, in front of that of the network."""
        self.along = False
        """Whether what moves is printed at a number t of its path."""

    def _reached(self) -> tuple[Use, ...]:
        """The uses through which a parameter moves the loss; the last equations first."""
        moved = {*self.parameters}
        equations = self.derivation.forward.equations
        for equation in equations:
            if not moved.isdisjoint(equation.value.tensors):
                moved.add(equation.tensor)
        back, wanted = list[Use](), {self.loss}
        for equation in reversed(equations):
            if equation.tensor in wanted:
                own = [u for u in self.derivation.uses if u.equation == equation and u.tensor in moved]
                back += own
                wanted |= {u.tensor for u in own}
        if not set(self.parameters) <= wanted:
            raise UnprintableError("a parameter that does not move the loss")
        return tuple(back)

    # What the printer asks.

    def size(self, extent: Extent) -> str:
        if isinstance(extent, int):
            return str(extent)
        self.sizes[extent] = self.named(("extent ", extent), extent)
        return self.sizes[extent]

    def extent(self, i: Index) -> str:
        return self.size(i.extent)

    def axis(self, tensor: Tensor, k: int) -> str:
        return self.size(tensor.shape[k])

    def range(self, g: Guard) -> str:
        return self.size(g.extent)

    def tensor(self, t: Tensor) -> str:
        name = super().tensor(t)
        return f"({self.named(('at', t), f'at_{t.name}')} t)" if self.along and t in self.moving else name

    def moved(self, tensor: Tensor) -> str:
        if self.operand is not None:
            return f"({self.named(('along', tensor), f'along_{tensor.name}')} d)"
        return self.named(("dual", tensor), f"dual_{tensor.name}")

    def tangent(self, tensor: Tensor) -> str:
        return self.named(("tangent", tensor), f"d_{tensor.name}")

    # Pieces of text.

    def alone(self, use: Use) -> str:
        """The tangent of an equation, one operand moved along d."""
        moving, self.moving, self.operand = self.moving, frozenset({use.tensor}), use.tensor
        try:
            return f"snd {self.dual(use.equation.value)}"
        finally:
            self.moving, self.operand = moving, None

    def at(self, e: Expr) -> str:
        self.along = True
        try:
            return self.line(e)
        finally:
            self.along = False

    def shape(self, tensor: Tensor) -> str:
        return "(" + "".join(f"{self.axis(tensor, k)}%Z :: " for k in range(len(tensor.shape))) + "nil)%list"

    def listed(self, tensor: Tensor, text: str) -> str:
        return f"(listed {len(tensor.shape)} {text})"

    def own(self, tensor: Tensor) -> list[str]:
        return [self.named(("place ", k), f"p{k}") for k in range(len(tensor.shape))]

    def inner(self, tensor: Tensor, gradient: str, movement: str) -> str:
        """The sum of a gradient times a movement over all components."""
        a, b = self.listed(tensor, gradient), self.listed(tensor, movement)
        return f"over {self.shape(tensor)} (fun l => {a} l * {b} l)"

    def signal(self, tensor: Tensor) -> str:
        if tensor == self.loss:
            return "one"
        return self.tensor(next(p.sum.tensor if p.sum else p.uses[0].contribution
                                for name, p in self.derivation.parts.items() if name == tensor.name))

    @property
    def inside(self) -> tuple[Tensor, ...]:
        """What moves and is no parameter, the loss first."""
        return tuple(dict.fromkeys(use.equation.tensor for use in self.uses))

    def defined(self) -> Iterator[str]:
        """The programs, and how they move."""
        wanted = {use.equation.tensor for use in self.uses}
        wanted |= {e.tensor for use in self.uses for e in use.instance.facts}
        for use in self.uses:
            for t in (t for e in use.equations for t in e.value.tensors):
                wanted.add(t)
        equations = self.derivation.joint.equations
        for equation in reversed(equations):
            if equation.tensor in wanted:
                wanted.update(equation.value.tensors)
        needed = [e for e in equations if e.tensor in wanted or any(e in (u.equations) for u in self.uses)]
        for p in self.parameters:
            places = self.own(p)
            yield (
                f"Definition {self.moved(p)}{_binders(places)} : dual := "
                f"({_applied(self.tensor(p), places)}, {_applied(self.tangent(p), places)})."
            )
        for equation in needed:
            if any(s.plain is None for s in equation.target.subscripts):
                raise UnprintableError("an equation for some components alone")
            t, places = equation.tensor, [self.index(i) for i in equation.indices]
            self.programs.append(f"Definition {self.tensor(t)}{_binders(places)} : K := {self.line(equation.value)}.")
            yield self.programs[-1]
            if t in self.moving:
                whole = self.named(("whole", t), f"whole_{t.name}")
                yield f"Definition {whole}{_binders(places)} : dual := {self.dual(equation.value)}."
                yield f"Definition {self.tangent(t)}{_binders(places)} : K := snd {_applied(whole, places)}."
                pair = f"({_applied(self.tensor(t), places)}, {_applied(self.tangent(t), places)})"
                yield f"Definition {self.moved(t)}{_binders(places)} : dual := {pair}."
        for p in self.parameters:
            places = self.own(p)
            moved = f"{_applied(self.tensor(p), places)} + t * {_applied(self.tangent(p), places)}"
            self.programs.append(f"Definition {self.at_name(p)} (t : K){_binders(places)} : K := {moved}.")
            yield self.programs[-1]
        for equation in needed:
            if equation.tensor in self.moving:
                places = [self.index(i) for i in equation.indices]
                name = self.at_name(equation.tensor)
                self.programs.append(f"Definition {name} (t : K){_binders(places)} : K := {self.at(equation.value)}.")
                yield self.programs[-1]

    def at_name(self, t: Tensor) -> str:
        return self.named(("at", t), f"at_{t.name}")

    def steps(self) -> Iterator[str]:
        """A lemma for each use, and one for each equation and tensor."""
        for n, use in enumerate(self.uses):
            x, y, places = use.tensor, use.equation.tensor, self.own(use.tensor)
            entry = "".join(f"{p} :: " for p in places)
            along = self.named(("along", x), f"along_{x.name}")
            if all(u.tensor != x for u in self.uses[:n]):
                yield (
                    f"Definition {along} (d : list Z -> K){_binders(places)} : dual := "
                    f"({_applied(self.tensor(x), places)}, d ({entry}nil)%list)."
                )
            indices = [self.index(i) for i in use.equation.indices]
            yield f"Definition by_{n} (d : list Z -> K){_binders(indices)} : K := {self.alone(use)}."
            signal, share = self.listed(y, self.signal(y)), self.listed(x, self.tensor(use.contribution))
            own = self.listed(y, f"(by_{n} d)")
            theorem = Theorem(of_piece(use.instance, 0, Subject("other", y=str(n))), f"use_{n}")
            self.lemmas.append(theorem.section())
            yield (
                f"Lemma back_{n} (d : list Z -> K) : over {self.shape(y)} (fun k => {signal} k * {own} k)\n"
                f"  = over {self.shape(x)} (fun c => {share} c * d c).\n"
                f"Proof. apply (layer {self.shape(y)} {self.shape(x)} {signal} (fun k d => {own} k) {share}).\n"
                f"  - intros k W. places k W. cbn [listed]. unfold by_{n}, {along}. duals. linearly.\n"
                f"  - intros c W. {self._places(x)}{self._claim(n, use, theorem)} Qed."
            )
            yield f"Definition share_{n} : K := {self.inner(x, self.tensor(use.contribution), self.tangent(x))}."
        for k, y in enumerate(self.inside):
            yield from self._equation(k, y)
        for k, x in enumerate((*self.inside[1:], *self.parameters), len(self.inside)):
            shares = [f"share_{n}" for n, use in enumerate(self.uses) if use.tensor == x]
            proof = "reflexivity" if len(shares) == 1 else (
                f"unfold {', '.join(shares)}; rewrite !uses; apply over_ext; intros c W; places c W; reflexivity"
            )
            yield f"Definition total_{self.tangent(x)} : K := {self.inner(x, self.signal(x), self.tangent(x))}."
            yield f"Lemma uses_{k} : {' + '.join(shares)} = total_{self.tangent(x)}.\nProof. {proof}. Qed."

    def _places(self, x: Tensor) -> str:
        each = "cbn [within] in W; [contradiction W | destruct W as [? W]]. "
        return "".join(f"destruct c as [|{p} c]; {each}" for p in self.own(x)) + (
            "destruct c; cbn [within] in W; [clear W | contradiction W]. "
        )

    def _claim(self, n: int, use: Use, theorem: Theorem) -> str:
        """The lemma of this use, its variables the network's."""
        y, places = use.equation.tensor, self.own(use.tensor)
        at = {theorem.index(s.plain): p for s, p in zip(theorem.target, places, strict=True) if s.plain is not None}
        if len(at) != len(places):
            raise UnprintableError("a lemma in pieces")
        sizes = {name: self.size(theorem.extents.values[root]) for root, name in theorem.sizes.items()}
        given = [{**sizes, **at}[name] for name in theorem.integers]
        given += [self.function(name, arity) for name, arity in theorem.functions.items()]
        given += [self.constant(name) for name in theorem.constants]
        given += [self.tensor(t) for t in theorem.held]
        if y == self.loss:
            first = "eapply eq_trans; [apply one_times |]"
        else:
            indices = [self.index(i) for i in use.equation.indices]
            tangent = f"(fun {' '.join(indices)} => snd {_applied('v', indices)})" if indices else "(snd v)"
            given.append(f"(fun v => (zero, {self.inner(y, self.signal(y), tangent)}))")
            first = "idtac"
        return f"{first}. eapply (use_{n} {' '.join(given)}); first [assumption | lia | intros; reflexivity | trivial]."

    def _equation(self, k: int, y: Tensor) -> Iterator[str]:
        """What an equation's operands contribute, together."""
        own = [(n, use) for n, use in enumerate(self.uses) if use.equation.tensor == y]
        equation = own[0][1].equation
        indices = [self.index(i) for i in equation.indices]
        ranges = "".join(f"(0 <= {self.index(i)} < {self.extent(i)})%Z -> " for i in equation.indices)
        every = f"forall {' '.join(indices)}, " if indices else ""
        parts = [f"by_{n} {self.listed(u.tensor, self.tangent(u.tensor))}" for n, u in own]
        total = " + ".join(_applied(part, indices) for part in parts)
        unfolded = dict.fromkeys(
            [self.tangent(y), self.named(("whole", y), f"whole_{y.name}")]
            + [f"by_{n}" for n, _ in own] + [self.named(("along", u.tensor), "") for _, u in own]
        )
        duals = dict.fromkeys(self.moved(u.tensor) for _, u in own)
        yield (
            f"Lemma apart_{k} : {every}{ranges}{_applied(self.tangent(y), indices)} = {total}.\n"
            f"Proof. intros. unfold {', '.join(unfolded)}. unfold {', '.join(duals)}. duals. cbn [listed].\n"
            "  first [reflexivity | ring | rewrite ?sum_add; ring | eapply eq_trans; [split_sums | same tidy]]. Qed."
        )
        signal = self.listed(y, self.signal(y))
        apart = " + ".join(f"{self.listed(y, f'({part})')} l" for part in parts)
        proof = f"exact (back_{own[0][0]} {self.listed(own[0][1].tensor, self.tangent(own[0][1].tensor))})"
        for n, use in own[1:]:
            last = f"exact (back_{n} {self.listed(use.tensor, self.tangent(use.tensor))})"
            proof = f"eapply eq_trans; [apply over_two | apply (f_equal2 add); [{proof} | {last}]]"
        yield f"Definition total_{self.tangent(y)}_of : K := {self.inner(y, self.signal(y), self.tangent(y))}."
        yield (
            f"Lemma equation_{k} : total_{self.tangent(y)}_of = {' + '.join(f'share_{n}' for n, _ in own)}.\n"
            f"Proof. transitivity (over {self.shape(y)} (fun l => {signal} l * ({apart}))).\n"
            "  - apply over_ext. intros l W. places l W. cbn [listed].\n"
            f"    apply (f_equal2 mul); [reflexivity | apply apart_{k}; assumption].\n"
            f"  - {proof}. Qed."
        )

    def whole(self) -> Iterator[str]:
        """The theorem over any ring."""
        shares = " + ".join(f"share_{n}" for n in range(len(self.uses)))
        totals = {t: f"total_{self.tangent(t)}_of" for t in self.inside}
        result = " + ".join(f"total_{self.tangent(p)}" for p in self.parameters)
        others = " + ".join(totals[t] for t in self.inside[1:]) or "zero"
        equations = "; ".join(f"rewrite equation_{k}" for k in range(len(self.inside)))
        first = len(self.inside)
        used = "; ".join(f"rewrite <- uses_{first + k}" for k in range(len(self.inside) - 1 + len(self.parameters)))
        same = "".join(f"change {totals[t]} with total_{self.tangent(t)}. " for t in self.inside[1:])
        yield (
            f"Theorem network : {self.tangent(self.loss)} = {result}.\n"
            f"Proof. transitivity {totals[self.loss]}; [symmetry; apply one_times |]. apply (cancel _ _ ({others})).\n"
            f"  transitivity ({shares}); [{equations}; ring |].\n  {same}{used}; ring. Qed."
        )
        known = list[str]()
        laws = dict[str, None]()
        for f in self.functions:
            base, argument = split_derivative(f)
            if argument is None and CATALOGUE[base].arity == 1 and f"{derivative_of(base)}" in self.functions:
                laws[base] = None
        for base in laws:
            name, slope = self.function(base, 1), self.function(derivative_of(base), 1)
            yield (
                f"Hypothesis path_{base} : forall c a, path c a -> "
                f"path (fun t => {name} (c t)) (dfun {name} {slope} a)."
            )
            known.append(f"apply path_{base}")
        self.smooth = tuple(laws)
        for p in self.parameters:
            places = self.own(p)
            every = f"forall {' '.join(places)}, " if places else ""
            yield (
                f"Lemma path_{self.tangent(p)} : {every}path (fun t => {_applied(f'{self.at_name(p)} t', places)}) "
                f"{_applied(self.moved(p), places)}.\nProof. intros. apply path_line. Qed."
            )
            known.append(f"apply path_{self.tangent(p)}")
        for t in reversed(self.inside):
            equation = next(e for e in self.derivation.forward.equations if e.tensor == t)
            indices = [self.index(i) for i in equation.indices]
            ranges = "".join(f"(0 <= {self.index(i)} < {self.extent(i)})%Z -> " for i in equation.indices)
            every = f"forall {' '.join(indices)}, " if indices else ""
            whole = self.named(("whole", t), "")
            at, dual = _applied(f"{self.at_name(t)} t", indices), _applied(self.moved(t), indices)
            yield (
                f"Lemma path_{self.tangent(t)} : {every}{ranges}path (fun t => {at}) {dual}.\n"
                f"Proof. intros. change {dual} with {_applied(whole, indices)}. "
                f"unfold {self.at_name(t)}, {whole}.\n"
                f"  along ltac:(first [{' | '.join([*known, 'assumption', 'lia'])}]). Qed."
            )
            known.insert(0, f"apply path_{self.tangent(t)}")
        at, value = self.at_name(self.loss), self.tensor(self.loss)
        yield (
            f"Theorem gradient : path (fun t => {at} t) ({value}, {self.result()}).\n"
            f"Proof using All. exact (eq_rect _ (fun slope => path {at} ({value}, slope)) "
            f"path_{self.tangent(self.loss)} _ network). Qed."
        )

    def result(self) -> str:
        """The sum of derived gradients times directions."""
        found = list[str]()
        for p in self.parameters:
            places = self.own(p)
            body = f"{_applied(self.signal(p), places)} * {_applied(self.tangent(p), places)}"
            head = "".join(f"sum {self.axis(p, k)} (fun {place} => " for k, place in enumerate(places))
            found.append(f"({head}{body}{')' * len(places)})")
        return " + ".join(found)

    def declared(self) -> list[str]:
        """Variables for what is given: extents, numbers, functions, inputs, parameters and their directions."""
        found = [f"Variables ({' '.join(self.sizes.values())} : Z)."] if self.sizes else []
        found += [f"Variable {self.function(name, n)} : {'K -> ' * n}K." for name, n in self.functions.items()]
        if self.constants:
            found.append(f"Variables ({' '.join(self.constants.values())} : K).")
        tensors = self.variables()
        split = len(tensors) - len(self.parameters)
        return [*found, *tensors[:split], *(law for _, law in self.known_laws), *tensors[split:]]

    def variables(self) -> list[str]:
        """Inputs and parameters, then the directions of these."""
        given = {*self.derivation.forward.given}
        self.given = [name for t, name in self.tensors.items() if t in given]
        found = [
            f"Variable {name} : {'Z -> ' * len(t.shape)}{'K' if t.dtype == 'real' else 'Z'}."
            for t, name in self.tensors.items() if t in given
        ]
        return found + [f"Variable {self.tangent(p)} : {'Z -> ' * len(p.shape)}K." for p in self.parameters]

    def over_the_reals(self) -> str:
        """The same programs over the real numbers, and the theorem of analysis that follows."""
        given, proofs = list[str](), list[str]()
        derivatives_first = sorted(self.functions, key=lambda f: split_derivative(f)[1] is None)
        unfolded = ", ".join(self.function(f, 1) for f in derivatives_first)
        for name, arity in self.functions.items():
            base, argument = split_derivative(name)
            if base not in _SMOOTH or arity != 1:
                raise UnprintableError(f"{base} over the real numbers")
            own = self.function(name, 1)
            given.append(f"Definition {own} : K -> K := {base}." if argument is None else self.slope(own))
        for base in self.smooth:
            own, slope = self.function(base, 1), self.function(derivative_of(base), 1)
            law = f"eapply lim_is; [apply law_{base} | unfold {unfolded}, rpower, Q2R; simpl; field]"
            proofs.append(
                f"Lemma path_{base} c a : curve c a -> curve (fun t => {own} (c t)) (dfun R Rmult {own} {slope} a).\n"
                f"Proof. apply curve_fun. {law}. Qed."
            )
        for thing, name in self.constants.items():
            extent = thing.removeprefix("number_of_")
            if extent not in self.sizes:
                raise UnprintableError(f"{thing} over the real numbers")
            given.append(f"Definition {name} : K := IZR {self.sizes[extent]}.")
        arguments = [*self.sizes.values(), *(self.function(f, n) for f, n in self.functions.items())]
        arguments += [*self.constants.values(), *self.given, *("(fun _ => eq_refl)" for _ in self.known_laws)]
        arguments += [*map(self.tangent, self.parameters), *(f"path_{base}" for base in self.smooth)]
        sizes = [f"Variables ({' '.join(self.sizes.values())} : Z)."] if self.sizes else []
        return "\n".join((
            "Module Over_the_reals.", *(f"Notation {a} := ({b})." for a, b in _OVER_R),
            "Section network.", *sizes, *given, *self.variables(), *self.programs, *proofs,
            f"Theorem gradient : derivable_pt_lim {self.at_name(self.loss)} 0 ({self.result()}).",
            f"Proof. exact (proj2 (gradient {' '.join(_INSTANCE)} {' '.join(arguments)})). Qed.",
            "End network.", "End Over_the_reals.", "Print Assumptions Over_the_reals.gradient.", "",
        ))

    def slope(self, own: str) -> str:
        """The derivative of a function, by its law."""
        law = next(text for _, text in self.known_laws if f" {own} " in text)
        names, _, value = law.removesuffix(".").partition(" : forall ")[2].partition(f", {own} ")
        return f"Definition {own} ({names} : K) : K := {value.partition(' = ')[2]}."

    def section(self) -> str:
        body = "\n".join([*self.defined(), *self.steps(), *self.whole()])
        self.known_laws = tuple((name, law) for _, name, law in self.laws())
        return "\n".join([*self.lemmas, "Section network.", *self.declared(), body, "End network.", ""])


def derivative_of(f: str) -> str:
    return f"d1_{f}"


def _binders(names: Iterable[str]) -> str:
    return "".join(f" ({name} : Z)" for name in names)


def _applied(name: str, arguments: Sequence[str]) -> str:
    return f"({' '.join([name, *arguments])})"
