"""A claim as a section of Coq: its tensors, functions and extents are variables, what it reuses are hypotheses, each
step is a lemma closed by the tactic of its rule, and the theorem is "first line = last line"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from chainrule.derive.eliminate import Move, Term, digits, terms_of
from chainrule.derive.fold import FOLDING
from chainrule.ir.expr import (
    ZERO,
    Add,
    Apply,
    Component,
    Delta,
    Expr,
    Multiply,
    Power,
    Reduce,
    Size,
    Tensor,
    add,
    is_gradient,
    multiply,
)
from chainrule.ir.index import Affine, Index
from chainrule.ir.print import spelled
from chainrule.ir.program import Equation
from chainrule.ir.walk import components, nodes, substitute
from chainrule.verify.claims import Cleared, Row
from chainrule.verify.coq import ARGUMENT, WORD, Lines, UnprintableError


@dataclass(frozen=True)
class Part:
    """What Coq is told at once: of a step its lemma, with the ways to close it from the cheapest to the dearest."""

    rule: str
    said: str
    ways: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.by(first_of(self.ways)) if self.ways else self.said

    def by(self, way: str) -> str:
        return f"{self.said}Proof. {way}. Qed.\n"


class Theorem(Lines):
    """The section of one claim."""

    def section(self, cited: str = "", using: str = " using All") -> str:
        """With its proof; or with that of another section of the same `pattern`, the name of whose theorem is `cited`.
        Raises UnprintableError for what has no text."""
        return "".join(part.text for part in self.parts(cited, using))

    def parts(self, cited: str = "", using: str = " using All") -> Iterator[Part]:
        """The section as Coq is told it: its opening, what is given, each step under its rule, and the theorem."""
        name, steps = self.name, self._steps()
        head = f"(* {str(self.claim.what).replace('*', '×')} *)"
        yield Part("", f"{head}\nSection {name}_section.\n")
        yield Part("", "\n".join((*self._given(), "")))
        proof = f"({cited} {' '.join(self.variables())})" if cited else f"{name}_1"
        for n, (rule, before, after, ways) in enumerate(() if cited else steps, 1):
            yield Part(rule, f"Lemma {name}_{n} : (* {rule} *)\n  {before}\n  = {after}.\n", ways)
            proof = proof if n == 1 else f"(eq_trans {proof} {name}_{n})"
        statement = f"Theorem {name} :\n  {steps[0][1]}\n  = {steps[-1][2]}."
        yield Part("", f"{statement}\nProof{using}. exact {proof}. Qed.\nEnd {name}_section.\n")

    def pattern(self, section: str) -> str:
        """A section but for its names: two claims that have one are the same theorem."""
        own, order = {*self._names.values()}, dict[str, str]()

        def renamed(found: re.Match[str]) -> str:
            name = found[0].replace(self.name, "claim")
            return order.setdefault(name, f"name {len(order)}") if name in own else name

        return re.sub(WORD, renamed, section.partition("\n")[2])

    def variables(self) -> list[str]:
        """What the theorem is about, in the order in which the section declares it."""
        given = "\n".join(self._given())
        found = re.findall(r"^(?:Variables? \(?|Hypothesis )([^:]+) :", given, re.MULTILINE)
        return [name for names in found for name in names.split()]

    def _given(self) -> list[str]:
        """All that is declared, the steps having been printed."""
        given = self._moved() + self._links() + self._known() + self._sized() + self._divided() + self._ranges()
        return self._declared() + given

    def _steps(self) -> list[tuple[str, str, str, tuple[str, ...]]]:
        """Of each step the rule, both lines, and the ways to prove it."""
        rows = self.rows
        lines = [self.real(rows[0].before), *(self.real(row.after) for row in rows)]
        for row, above in zip(rows, lines, strict=False):
            if self.real(row.before) != above:
                raise UnprintableError(f"the line before {row.rule} is not the one above it")
        proofs = [self.ways(row, found) for row, found in zip(rows, self.cleared, strict=True)]
        return [(row.rule, lines[n], lines[n + 1], proofs[n]) for n, row in enumerate(rows)]

    # Proofs: the ways to close a step.

    def proof(self, row: Row, found: Cleared) -> str:
        return first_of(self.ways(row, found))

    def ways(self, row: Row, found: Cleared) -> tuple[str, ...]:
        """Tactics of which one closes the step, from the cheapest to the dearest."""
        match row.rule:
            case "chain":
                steps = " | ".join(f"apply gradient_of_{self.link(link)}" for link in self.claim.links)
                return (f"walk ltac:(first [{steps} | ring]; intros; reflexivity)",)
            case "uses":
                return (self._along_uses("ring"),)
            case "cite" if self.claim.links and self.claim.equation is None:
                return (self._along_uses("known ltac:(direct)"),)
            case "error_signal":
                constant = self.claim.constant is not None
                return ("walk ltac:(first [apply signal | known direct])" if constant else "reflexivity",)
            case "definition":
                return (f"unfold {self.y}; reflexivity",)
            case "bracket" | "solve" | "residues":
                return (self._clearing(row, found),)
            case "distribute":
                return ("spread",)
            case "radix":
                return (self._digits(row),)
            case "take_out":
                return ("direct", "walk likely")
            case "single":
                return ("alone",)
            case "padding":
                return ("each ltac:(by_factors idtac)", "walk lightly")
            case "range":
                return ("each ltac:(by_factors idtac)", "walk ltac:(ranged; lightly)")
            case "form":
                whole = [] if any(map(self._sums, _terms(row.before))) else ["walk guards"]
                return (*self._partners(row), "walk likely", *whole, "pinning")
            case "law" | "reuse" | "cite":
                put = self._put(row)
                return (f"walk ltac:({put}; walk lightly)", f"each ltac:(by_factors ltac:({put}))")
            case "vanish":
                return ("walk ltac:(vanish ltac:(known ltac:(rewritten; count; divided ltac:(divisor))))",)
            case "root":
                return ("walk ltac:(known ltac:(rewritten; reflexivity))",)
            case "quotient":
                return ("walk ltac:(known ltac:(divided ltac:(divisor)))",)
            case "powers" | "denominator":
                divided = "rewritten; divided ltac:(divisor)"
                return tuple(f"walk ltac:({before}{divided})" for before in ("", "beneath; ", "kindred; "))
            case "unit" | "zero" if self.claim.wrt is not None:
                gone = any(isinstance(node, Multiply) and ZERO in node.factors for node in nodes(row.before))
                return (*["zeros; direct"] * gone, "walk lightly", f"unfold {self.x}; duals; walk guards")
            case rule if rule.startswith("derivative."):
                return (f"unfold {self.x}; duals; walk ltac:(first [guards | known direct])",)
            case _:
                return ("direct",)

    def _along_uses(self, close: str) -> str:
        """x is moved along one component in all its uses: of each share that component is left."""
        moved = f"apply gradient_of_loss; intros; reflexivity | unfold {self.x}; duals"
        return f"eapply eq_trans; [{moved}; eapply eq_trans; [level | {close}]]"

    def _put(self, row: Row) -> str:
        """The definitions and laws of which a line has less than the one above it, or more where it reuses a value."""
        new, old = (row.before, row.after) if row.rule == "reuse" else (row.after, row.before)
        less = Counter(_named(old)) - Counter(_named(new))
        every = {name: putting for name, _, putting in self._facts()}
        return _progress([putting for name, putting in every.items() if name in less] or [*every.values()])

    def _partners(self, row: Row) -> Iterator[str]:
        """Which sum of a line is which of the line that it is written anew, term by term: that over the same axes, else
        the next of its extent."""
        left, right = _terms(row.before), _terms(row.after)
        found = [self._partner(*pair) for pair in zip(left, right, strict=False)]
        if len(left) == len(right) and all(found):
            text = found[0]
            for one in found[1:]:
                text = f"apply (f_equal2 add); [{text} | {one}]"
            yield f"{'meaning' if len(left) == 1 else 'by_terms'} ltac:({text})"

    def _partner(self, before: Expr, after: Expr) -> str:
        """The same of one term; "" where the sums of both do not match."""
        left, right = self._sums(before), self._sums(after)
        text, places = "settle" if left else "terms", list[int]()
        for i in left if len(left) == len(right) else ():
            one = [j for j in right if self.extent(j) == self.extent(i)]
            over = [j for j in one if _axes(after, j) == _axes(before, i)]
            if not one:
                return ""
            places.append(right.index((over or one)[0]))
            right.pop(places[-1])
        for k in reversed(places):
            text = f"partner {k}%nat ltac:({text})"
        return text if len(left) == len(places) else ""

    def _sums(self, e: Expr) -> list[Index]:
        """The indices of the sums that stay in front of a term: not of those that only count how many times, where that
        is known, nor of those that a bracket pins to one number."""
        sums, zeros = _front(e)
        found: list[Index] = []
        for i, body in ((i, one.body) for one in sums for i in one.indices):
            at = next(((n, dict(z.terms)[i]) for n, z in enumerate(zeros) if abs(dict(z.terms).get(i, 0)) == 1), None)
            if at is not None:
                zero = zeros.pop(at[0])
                zeros = [z.substitute({i: Affine.of(i) - zero * at[1]}) for z in zeros]
            elif i.extent != 1 and (i in body.free or not (self.extent(i).isdigit() or i.extent in self._counted())):
                found.append(i)
        return found

    def _under(self, indices: Iterable[Index], theorem: str) -> str:
        return "".join(f"apply {theorem}; intros {self.index(i)} ?; cbv beta; " for i in indices)

    def _clearing(self, row: Row, found: Cleared) -> str:
        """One bracket after the other, each in its term of the line."""
        terms: list[Expr | None] = [term.expr for term, _ in found]
        text, current, depth = "", row.before, 0
        for n, (term, some) in enumerate(found):
            for move in some:
                alive = sum(t is not None for t in terms)
                place = sum(t is not None for t in terms[:n])
                terms[n] = None if move.term is None else move.term.expr
                after = add(t for t in terms if t is not None)
                if after is not current:
                    path = "apply (f_equal2 add); [ | reflexivity]; " * (alive - 1 - place)
                    path += "apply (f_equal2 add); [reflexivity | ]; " if place else ""
                    tactic = "vanishing" if move.term is None else path + self._cleared(row.rule, term, move)
                    text += f"transitivity {self.line(after)}; [{tactic} | "
                    depth += 1
                term, current = move.term or term, after
        return f"{text}equal{']' * depth}"

    def _cleared(self, rule: str, term: Term, move: Move) -> str:
        if move.index is None or move.at is None:
            decided = self._under(term.indices, "sum_ext") + "first [decide_brackets; ring | equal]"
            return "absent" if move.term == Term((), (ZERO,)) else decided
        k = term.indices.index(move.index)
        outer, inner = term.indices[:k], term.indices[k + 1 :]
        if rule == "residues":
            ((p, m),) = move.at.terms
            return self._under(outer, "sum_ext") + (
                f"apply (residue_class _ {m} {move.at.offset} _ {self.extent(p)}); "
                "[lia | lia | lia | intros; cbv beta; absent | intros; cbv beta; equal]"
            )
        i, size, at = self.index(move.index), self.extent(move.index), self.affine(move.at)
        others = multiply(f for f in term.factors if f is not move.delta)
        shape = f"{size} (fun {i} => {self.delta(move.delta)}) {at} _ (fun {i} => {self.line(others)})"
        descend = self._under(outer, "sum_ext") + self._under(inner, "sum_inner")
        if rule == "bracket":
            return descend + (
                f"apply (clear_bracket {shape}); "
                "[range | index | index | intros; cbv beta; ring | cbv beta; equal]"
            )
        left = self.line(substitute(others, {move.index: move.at}))
        return descend + (
            f"eapply eq_trans; [apply (solve_bracket {shape} {left}); "
            "[index | index | intros; cbv beta; ring | intros; cbv beta; equal] | equal]"
        )

    def _digits(self, row: Row) -> str:
        """Each bracket between two numbers as those between their digits, term by term."""
        proofs: list[str] = []
        for term in terms_of(row.before):
            text = self._under(term.indices, "sum_ext")
            for d in dict.fromkeys(f for f in term.factors if isinstance(f, Delta)):
                if pairs := digits(d):
                    parts = " * ".join(self.line(Delta(Affine.of(a), Affine.of(b))) for a, b in pairs)
                    text += f"replace {self.line(d)} with ({parts}) by digits; "
            proofs.append(f"{text}ring")
        whole = proofs[0]
        for proof in proofs[1:]:
            whole = f"apply (f_equal2 add); [{whole} | {proof}]"
        return whole

    # What is given.

    @property
    def integers(self) -> tuple[str, ...]:
        """The extents that are variables, and the indices of the gradient."""
        free = (i for row in self.rows for side in (row.before, row.after) for i in side.free)
        free = (*(i for s in self.target for i in s.indices), *free)
        return tuple(dict.fromkeys([*self.sizes.values(), *map(self.index, free)]))

    @property
    def held(self) -> tuple[Tensor, ...]:
        """The tensors that are variables."""
        return tuple(t for t in self.tensors if not t.name.startswith(ARGUMENT))

    def _declared(self) -> list[str]:
        """Variables for all that has been named."""
        found = [f"Variables ({' '.join(self.integers)} : Z)."] if self.integers else []
        found += [f"Variable {self.function(name, n)} : {'K -> ' * n}K." for name, n in self.functions.items()]
        if self.constants:
            found.append(f"Variables ({' '.join(self.constants.values())} : K).")
        for t in self.held:
            found.append(f"Variable {self.tensors[t]} : {'Z -> ' * len(t.shape)}{'K' if t.dtype == 'real' else 'Z'}.")
        return found

    def _moved(self) -> list[str]:
        """The tensor x moved along one of its components, and y with it; or what links begin with, moved in any way."""
        wrt, equation = self.claim.wrt, self.claim.equation
        if wrt is None:
            return []
        begin = {x.tensor: x for link in self.claim.links for x, _ in link.by}
        if equation is None and wrt.tensor not in begin:
            inner = {link.y.tensor for link in self.claim.links}
            return [f"Variable {self.moved(t)} : {_family(x)}." for t, x in begin.items() if t not in inner]
        places = [self.named(("place ", k), f"p{k}") for k in range(len(wrt.subscripts))]
        tests = [f"bracket ({p} =? {self.affine(s)})%Z" for p, s in zip(places, self.target, strict=True)]
        value = f"({' '.join([self.tensor(wrt.tensor), *places])}, {' * '.join(tests) or 'one'})"
        own = "".join(f" ({p} : Z)" for p in places)
        found = [f"Definition {self.x}{own} : dual := {value}."]
        if equation is not None:
            indices = "".join(f" ({self.index(i)} : Z)" for i in equation.target.free)
            found.append(f"Definition {self.y}{indices} : dual := {self.dual(equation.value)}.")
        return found

    def _links(self) -> list[str]:
        """Functions of what moves, the loss among them: they move as their derivatives say, however that is moved."""
        found: list[str] = []
        for link in reversed(self.claim.links):
            function = self.link(link)
            moved, same, totals, own = "", "", list[str](), list[str]()
            for n, (x, factor) in enumerate(link.by):
                own.append(self.named(("along", n), "v") if n else "v")
                names = " ".join(map(self.index, x.free))
                every, at = (f"forall {names}, ", f"({own[-1]} {names})") if names else ("", own[-1])
                given = self.applied(self.moved(x.tensor), [Affine.of(i) for i in x.free])
                moved += f"forall {own[-1]} : {_family(x)}, "
                same += f"({every}fst {at} = fst {given}) -> "
                totals.append(self.nested("sum", x.free, f"({self.line(factor)} * snd {at})"))
            places = "".join(f"forall {self.index(i)}, " for i in link.y.free)
            value = self.applied(f"({' '.join([function, *own])})", [Affine.of(i) for i in link.y.free])
            types = "".join(f"{_family(x)} -> " for x, _ in link.by)
            found.append(f"Variable {function} : {types}{_family(link.y)}.")
            law = f"{moved}{same}{places}snd {value} = {' + '.join(totals)}"
            found.append(f"Hypothesis gradient_of_{function} : {law}.")
        if self.claim.constant is not None:
            ((y, signal),) = self.claim.links[0].by
            every = f"forall {' '.join(map(self.index, y.free))}, " if y.free else ""
            self.assumed["signal", ""] = None
            found.append(f"Hypothesis signal : {every}{self.line(signal)} = {self.line(self.claim.constant)}.")
        return found

    def _known(self) -> list[str]:
        """Equations whose values are reused, and the laws of functions; and what puts them in, on both sides."""
        facts = [*self._facts()]
        every = [putting for _, _, putting in facts]
        ways = [f"{_progress(every)}; first [ring | close]"] if len(every) > 1 else []
        ways += [f"{_progress([putting])}; close" for putting in every]
        return [*(law for _, law, _ in facts), f"Ltac known close := first [{' | '.join(ways) or 'fail'}]."]

    def _facts(self) -> Iterator[tuple[str, str, str]]:
        """Of each what it is about, the hypothesis, and what puts it in wherever it applies."""
        for fact in self.claim.facts:
            if fact.tensor in self.tensors:
                kind = "cited" if is_gradient(fact.tensor) else "definition"
                self.assumed[kind, spelled(fact.tensor)] = None
                name = self.named(("definition ", fact), f"def_{fact.tensor.name}")
                indices = fact.target.free
                plain = all(s.plain is not None for s in fact.target.subscripts)
                ranges = [f"(0 <= {self.index(i)} < {self.extent(i)})%Z -> " for i in indices if not plain]
                every = f"forall {' '.join(map(self.index, indices))}, " if indices else ""
                value = self.real(fact.value) if fact.tensor.dtype == "real" else self.line(fact.value)
                law = f"Hypothesis {name} : {every}{''.join(ranges)}{self.line(fact.target)} = {value}."
                by_digits = "" if plain else f" by arith; {self._by_digits(fact.target, name)}"
                yield fact.tensor.name, law, f"rewrite ?{name}{by_digits}"
        for function, name, law in self.laws():
            yield function, law, f"rewrite ?{name}"

    def _by_digits(self, target: Component, law: str) -> str:
        """Puts in the definition of what stands at a number: its digits are the indices of the definition."""
        names = [self.named(("number", k), "s") for k in range(len(target.subscripts))]
        found = ""
        for s, name in zip(target.subscripts, names, strict=True):
            found += f"let r := constr:(({name} - {s.offset})%Z) in "
            for i, c in sorted(s.terms, key=lambda term: -term[1]):
                found += f"let {self.index(i)} := digit Z.div {c}%Z r in let r := digit Z.modulo {c}%Z r in "
        whole, indices = self.tensors[target.tensor], " ".join(map(self.index, target.free))
        return (
            f"repeat match goal with |- context [{whole} {' '.join('?' + name for name in names)}] => {found}"
            f"replace ({whole} {' '.join(names)}) with {self.line(target)} by (f_equal; lia); "
            f"rewrite ({law} {indices}) by arith end"
        )

    def _sized(self) -> list[str]:
        """How many samples there are, where the lines count on it."""
        found: list[str] = []
        for extent in self._counted():
            self.assumed["size", extent] = None
            count = f"num (Z.max 0 {self.extent(Index('n', extent))} # 1)"
            found.append(f"Hypothesis {self._size(extent)} : {self.line(Size(extent))} = {count}.")
        return found

    def _size(self, extent: str) -> str:
        return self.named(("size", extent), f"size_{extent}")

    def _counted(self) -> list[str]:
        """Of which extents the lines have the number: where a layer's formula divides by it, and where a form has it in
        place of a sum of terms that are all the same."""
        sides = [side for row in self.rows for side in (row.before, row.after)]
        sizes = dict.fromkeys(node.extent for node in nodes(*sides) if isinstance(node, Size))
        if self.rows[-1].rule == "form":
            sums = [node for node in nodes(*sides) if isinstance(node, Reduce) and node.kind == "sum"]
            again = {i.extent for one in sums for i in one.indices if i not in one.body.free}
            return [extent for extent in sizes if extent in again]
        return [extent for extent in sizes if Size(extent) in self.claim.divisors]

    def _divided(self) -> list[str]:
        """What folds stand on: divisors that are not 0, powers of a root, and whole powers as products. A tactic for
        the first, and one that rewrites with the others, and with how many samples there are."""
        if not any(row.rule in FOLDING for row in self.rows):
            return []
        found: list[str] = []

        def given(kind: str, name: str, law: str) -> str:
            own = self.named((kind, name), f"{kind}_{name}")
            found.append(f"Hypothesis {own} : {law}.")
            return own

        units = [self._divisor(divisor, given) for divisor in self.claim.divisors]
        rewrites = [f"<- ?{self._size(extent)}" for extent in self._counted()]
        every = nodes(*(side for row in self.rows for side in (row.before, row.after)))
        exponents = [*dict.fromkeys(node.exponent for node in every if isinstance(node, Power))]
        for root in (fact.value.exponent for fact in self.claim.facts if isinstance(fact.value, Power)):
            for r in (r for r in exponents if r.denominator > 1 and r != root and (r / root).denominator == 1):
                self.assumed["root", str(r)] = None
                of_root = f"power {self.exponent(r / root)} (power {self.exponent(root)} a)"
                rewrites.append(f"?{given('root', str(r), f'forall a, {of_root} = power {self.exponent(r)} a')}")
        for r in (r for r in exponents if r.denominator == 1 and abs(r) > 1):
            self.assumed["whole", str(r)] = None
            product = " * ".join(["a" if r > 0 else "power (-1 # 1) a"] * abs(int(r)))
            rewrites.append(f"?{given('whole', str(r), f'forall a, power {self.exponent(r)} a = {product}')}")
        rewriting = f"rewrite {', '.join(rewrites)}" if rewrites else "idtac"
        known = " | ".join(f"apply {unit}" for unit in units)
        return [*found, f"Ltac rewritten := {rewriting}.", f"Ltac divisor := first [{known or 'fail'}]."]

    def _divisor(self, divisor: Expr, given: Callable[[str, str, str], str]) -> str:
        """That a value times its reciprocal is 1."""
        name = divisor.extent if isinstance(divisor, Size) else spelled(divisor.tensors[0])
        self.assumed["divisor", name] = None
        indices = " ".join(map(self.index, divisor.free))
        value = self.line(divisor)
        law = f"power (-1 # 1) {value} * {value} = one"
        return given("divisor", name, f"forall {indices}, {law}" if indices else law)

    def _ranges(self) -> list[str]:
        """Where the gradient's indices run, that the equations read inside their tensors, and how the shapes fit."""
        free = (i for row in self.rows for side in (row.before, row.after) for i in side.free)
        found = [
            f"0 <= {self.index(i)} < {self.extent(i)}"
            for i in dict.fromkeys([*(i for s in self.target for i in s.indices), *free])
        ]
        for equation in self.claim.equations:
            found += self._inside(equation)
        if self.claim.wrt is not None:
            tensor = self.claim.wrt.tensor
            split = [(k, s) for k, s in enumerate(self.target) if s.plain is None]
            found += [f"0 <= {self.affine(s)} < {self.axis(tensor, k)}" for k, s in split]
        found += [self._split(*row.split) for row in self.rows if row.split is not None]
        return [f"Hypothesis {self.named(('range ', f), 'range')} : ({f})%Z." for f in dict.fromkeys(found)]

    def _inside(self, equation: Equation) -> Iterable[str]:
        for c in (equation.target, *components(equation.value)):
            for k, s in enumerate(c.subscripts):
                if c.pad is None and not (s.plain and s.plain.extent == c.tensor.shape[k]):
                    reach = [(c > 0, f"{abs(c)} * ({self.extent(i)} - 1)") for i, c in s.terms]
                    low = "".join(f" - {text}" for up, text in reach if not up)
                    high = "".join(f" + {text}" for up, text in reach if up)
                    yield f"0 <= {s.offset}{low} /\\ {s.offset}{high} < {self.axis(c.tensor, k)}"
                if self.level == 1 and s.plain is None and not isinstance(length := c.tensor.shape[k], str):
                    terms = [(i, c, i.extent) for i, c in s.terms if c > 0 and isinstance(i.extent, int)]
                    rest = length - sum(c * extent for _, c, extent in terms)
                    total = "".join(f"{c} * {self.extent(i)} + " for i, c, _ in terms)
                    yield f"{self.axis(c.tensor, k)} = {total}{rest}"

    def _split(self, index: Index, at: Affine) -> str:
        """How the extents of a split index and of its highest digit fit."""
        whole = self.extent(index)
        lead, m = max(at.terms, key=lambda t: t[1])
        size = self.extent(lead)
        if len(at.terms) > 1:
            return f"{whole} = {m} * {size}"
        return f"{m} * ({size} - 1) + {at.offset} < {whole} <= {m} * {size} + {at.offset}"


def _family(c: Component) -> str:
    """The type of dual numbers over the indices of a component."""
    return f"({'Z -> ' * len(c.free)}dual)" if c.free else "dual"


def _progress(tactics: Iterable[str]) -> str:
    return f"progress ({'; '.join(tactics)})"


def first_of(ways: Sequence[str]) -> str:
    return ways[0] if len(ways) == 1 else f"first [{' | '.join(ways)}]"


def _terms(e: Expr) -> list[Expr]:
    """The terms of a line; where sums are added up in a factor, those of the line multiplied out."""
    if isinstance(e, Add):
        return [term for part in e.terms for term in _terms(part)]
    if isinstance(e, Multiply):
        for k, factor in enumerate(e.factors):
            others = e.factors[:k] + e.factors[k + 1 :]
            terms = _terms(factor)
            if len(terms) > 1 and all(_front(t)[0] for t in terms) and not any(_front(f)[0] for f in others):
                return [multiply((*others, term)) for term in terms]
    return [e]


def _front(e: Expr) -> tuple[list[Reduce], list[Affine]]:
    """The sums of a term in the order in which they come to its front, and the differences that its brackets say are
    zero; neither of a sum of terms."""
    match e:
        case Reduce(kind="sum", body=body):
            sums, zeros = _front(body)
            return [e, *sums], zeros
        case Multiply(factors=factors):
            found = [_front(factor) for factor in factors]
            return [one for sums, _ in found for one in sums], [one for _, zeros in found for one in zeros]
        case Delta(left=left, right=Affine() as right):
            return [], [left - right]
        case _:
            return [], []


def _named(e: Expr) -> Iterator[str]:
    """The tensors and functions of a line, each as often as it stands there."""
    for node in nodes(e):
        if isinstance(node, Component):
            yield node.tensor.name
        elif isinstance(node, Apply):
            yield node.function


def _axes(e: Expr, i: Index) -> set[tuple[Tensor, int]]:
    """The axes that an index runs over."""
    return {(c.tensor, k) for c in components(e) for k, s in enumerate(c.subscripts) if s.plain == i}
