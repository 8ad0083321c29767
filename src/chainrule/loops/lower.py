"""From expressions to statements: the values of an expression at several points of its indices at once.

The points are those of a register tile. A part of an expression that does not depend on an index of the tile has one
value for all of its points: a tile of 4 outputs and 3 blocks of samples loads 4 weights and 3 inputs for 12 products.
A sum at several points is one nest of loops with one accumulator a point; each accumulator takes its terms in the order
of the equation, by fused multiply-add. That order is the same in every schedule, and so are the bits.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from math import floor

from chainrule.errors import CompileError
from chainrule.ir.expr import Add, Apply, Component, Constant, Delta, Expr, Guard, Multiply, Power, Reduce, Size, Tensor
from chainrule.ir.functions import CATALOGUE, split_derivative
from chainrule.ir.index import Affine, Index
from chainrule.ir.laws import expanded, logarithm
from chainrule.ir.program import Equation
from chainrule.ir.walk import nodes
from chainrule.loops import nodes as ir
from chainrule.loops.layout import own_subscripts
from chainrule.loops.nests import Body, Nests
from chainrule.loops.places import (
    Env,
    Ids,
    Place,
    Sample,
    flat_factors,
    invariant,
    is_position,
    key_of,
    known_part,
    padded_factors,
    position_key,
    within,
)

ZERO, ONE, MINUS = (ir.Number(Fraction(n)) for n in (0, 1, -1))
Atom = ir.Atom


class Lowering(Nests):
    """Statements for one kernel. With `split` neighbouring terms of sums go into the lanes; those of a sum that no
    output index moves do so anyway. `stored` are the targets that are kept in memory, `update` equations that are
    computed where their targets are read. The rest is as for `Reader`."""

    def __init__(
        self, places: Mapping[tuple[Tensor, bool], Place], lanes: int, width: int, ids: Ids, split: bool,
        stored: Collection[Tensor], update: Sequence[Equation] = (),
    ) -> None:
        super().__init__(places, lanes, width, ids)
        self.split, self.stored, self.update = split, stored, update

    # Values

    def compute(self, equations: Sequence[Equation], env: Env) -> None:
        """The values of equations at a point, stored when all are known: a new value of a parameter takes the old one's
        place only when all that reads it here has."""
        values: list[tuple[Component, Atom]] = []
        for equation in equations:
            value = self.many(equation.value, [env])[0]
            self.scopes[-1][key_of(equation.target, env)] = value
            if equation.tensor in self.stored:
                values.append((equation.target, value))
        for target, value in values:
            self.store(target, env, value)

    def component(self, node: Component, env: Env) -> Atom:
        target = next((e.target for e in self.update if e.tensor is node.tensor), None)
        if target is not None and self.lookup(key_of(node, env)) is None:
            here = zip(target.subscripts, node.subscripts, strict=True)
            self.compute(self.update, {own.indices[0]: env[at.indices[0]] for own, at in here})
        return super().component(node, env)

    def bundle(self, nodes: Sequence[Reduce], envs: Sequence[Env]) -> None:
        """The values of sums that are taken together at each of the points, known from here on."""
        points = [*{at(nodes[0], env)[1:]: env for env in envs}.values()]
        for node, values in zip(nodes, self.totals(nodes, points), strict=True):
            self.scopes[-1].update({at(node, env): value for env, value in zip(points, values, strict=True)})

    def many(self, node: Expr, envs: Sequence[Env]) -> list[Atom]:
        """The value of a node at each of the points."""
        keys = [at(node, env) for env in envs]
        missing: dict[object, Env] = {}
        for key, env in zip(keys, envs, strict=True):
            if self.lookup(key) is None:
                missing.setdefault(key, env)
        if missing:
            for key, atom in zip(missing, self.evaluate(node, list(missing.values())), strict=True):
                self.scopes[-1][key] = atom
        found = [self.lookup(key) for key in keys]
        return [atom for atom in found if atom is not None]

    def evaluate(self, node: Expr, envs: list[Env]) -> list[Atom]:
        match node:
            case Constant(value=value):
                return [ir.Number(value)]
            case Size():
                return [ir.Number("samples")]
            case Component():
                return [self.component(node, env) for env in envs]
            case Add(terms=terms):
                return self.sums(terms, envs)
            case Multiply():
                return [self.product(*factors) for factors in self.factors(node, envs)]
            case Power(base=base, exponent=exponent):
                return [self.power(value, exponent) for value in self.many(base, envs)]
            case Apply(function=function, arguments=arguments):
                if split_derivative(function)[1] is not None:
                    return self.many(expanded(node), envs)
                if CATALOGUE[function].header is None:
                    raise CompileError(f"{function} has no native code", about=node)
                parts = [self.many(a, envs) for a in arguments]
                return [self.call(f"{function}_", *values) for values in zip(*parts, strict=True)]
            case Delta() | Guard():
                return [self.call("choose", self.bracket(node, env), ONE, ZERO, kind="real") for env in envs]
            case Reduce(kind="sum"):
                return self.totals([node], envs)[0]
            case Reduce(kind="max" | "argmax"):
                return self.extreme(node, envs)
            case Reduce(kind="logsumexp"):
                return [self.call("add", rest, shift) for shift, rest in self.pairs(node, envs)]
            case _:
                raise CompileError(f"no loops for {type(node).__name__}", about=node)

    def sums(self, terms: Sequence[Expr], envs: Sequence[Env]) -> list[Atom]:
        """The terms added in order; a product and what stands before it are rounded once. Of a first product and a
        second term that is none the product is added to the term. Of a logarithm of a sum of exponentials the greatest
        entry stands at its place, for others may cancel it, and what is small beside that comes last."""
        first, *rest = terms
        if isinstance(first, Multiply) and not isinstance(rest[0], Multiply):
            first, rest[0] = rest[0], first
        late: list[list[tuple[list[Atom], list[Atom]]]] = []

        def parts_of(term: Expr) -> list[tuple[list[Atom], list[Atom]]]:
            node, sign = logarithm(term)
            if node is None:
                return self.factors(term, envs)
            before: list[Atom] = [MINUS] if sign < 0 else []
            pairs = self.pairs(node, envs)
            late.append([([*before, small], []) for _, small in pairs])
            return [([*before, great], []) for great, _ in pairs]

        def added(totals: list[Atom], parts: list[tuple[list[Atom], list[Atom]]]) -> list[Atom]:
            return [
                self.call("sub", total, factors[1]) if len(factors) == 2 and factors[0] == MINUS and not brackets
                else self.added(total, [self.product(factors, brackets)] if brackets else factors)
                for total, (factors, brackets) in zip(totals, parts, strict=True)
            ]

        totals = [self.product(*part) for part in parts_of(first)] if logarithm(first)[0] else self.many(first, envs)
        for term in rest:
            totals = added(totals, parts_of(term))
        for parts in late:
            totals = added(totals, parts)
        return totals

    def factors(self, node: Expr, envs: Sequence[Env]) -> list[tuple[list[Atom], list[Atom]]]:
        """For each point the factors of a product, and the brackets among them."""
        plain: list[list[Atom]] = []
        brackets: list[Delta | Guard] = []
        for factor in flat_factors(node):
            if isinstance(factor, (Delta, Guard)):
                brackets.append(factor)
            else:
                plain.append(self.many(factor, envs))
        return [
            ([values[n] for values in plain], [self.bracket(b, env) for b in brackets]) for n, env in enumerate(envs)
        ]

    def product(self, factors: Sequence[Atom], brackets: Sequence[Atom]) -> Atom:
        value: Atom = factors[0] if factors else ONE
        for factor in factors[1:]:
            value = self.call("mul", value, factor)
        return self.call("choose", self.every(brackets), value, ZERO, kind="real") if brackets else value

    def bracket(self, node: Delta | Guard, env: Env) -> Atom:
        match node:
            case Guard(subscript=subscript, extent=extent):
                limit = ir.Whole(Affine((), extent)) if isinstance(extent, int) else ir.Local("N", "int")
                number = self.number(subscript, env)
                if number.kind == "int":
                    return self.call("inside", number, limit, kind="flag")
                above = self.call("before", ir.Whole(Affine((), -1)), number, kind="flag")
                return self.call("both", above, self.call("before", number, limit, kind="flag"), kind="flag")
            case Delta(left=left, right=Component() as right):
                return self.call("same", self.component(right, env), self.number(left, env), kind="flag")
            case Delta(left=left, right=Affine() as right):
                return self.call("same", self.number(left, env), self.number(right, env), kind="flag")
            case _:
                raise CompileError("no loops for this bracket", about=node)

    def number(self, subscript: Affine, env: Env) -> Atom:
        """The value of a subscript, as a whole number."""
        now = known_part(subscript, env)
        found: list[tuple[Atom, int]] = []
        for index, c in subscript.terms:
            match env[index]:
                case ir.Local() as position:
                    found.append((position, c))
                case Sample(block=block, at=at):
                    now = now + (block * self.width + (at or Affine())) * c
                    if at is None:
                        found.append((self.let(ir.Call("numbered", (), "ints")), c))
                case Affine():
                    pass
        if self.lane is not None and now.coefficient(self.lane):
            raise CompileError("a bracket about the position in the lanes", about=subscript)
        result: Atom = ir.Whole(now)
        for position, c in found:
            scaled = position if c == 1 else self.call("times", position, ir.Whole(Affine((), c)), kind="int")
            result = self.call("plus", result, scaled, kind="int")
        return result

    def counted(self, indices: Sequence[Index], env: Env) -> Atom:
        """The number of an entry among those that a reduction runs over, the last index fastest."""
        result: Atom | None = None
        place = Affine()
        for index in indices:
            if isinstance(index.extent, int):
                if result is None:
                    place = place * index.extent + Affine.of(index)
                    continue
                size: Atom = ir.Whole(Affine((), index.extent))
            else:
                if place == Affine():
                    place = Affine.of(index)
                    continue
                size = ir.Local("N", "int")
            before = self.number(place, env) if result is None else result
            result = self.call("plus", self.call("times", before, size, kind="int"),
                               self.number(Affine.of(index), env), kind="int")
        return self.number(place, env) if result is None else result

    def power(self, base: Atom, exponent: Fraction) -> Atom:
        """Whole powers by products; x^(n + ½) with a square root, or its reciprocal where n < 0; others by an operation
        of their own."""
        whole = floor(exponent)
        rest = exponent - whole
        value: Atom | None = None
        if rest == Fraction(1, 2):
            value = self.call("square_root" if whole >= 0 else "reciprocal_root", base)
            whole += whole < 0
        elif rest:
            return self.let(ir.Call("power", (base, ir.Number(exponent)), base.kind))
        if whole:
            size = abs(whole)
            raised: Atom | None = None
            square = base
            while size:
                if size & 1:
                    raised = square if raised is None else self.call("mul", raised, square)
                size >>= 1
                square = self.call("mul", square, square) if size else square
            assert raised is not None
            if whole > 0:
                value = raised if value is None else self.call("mul", raised, value)
            else:
                value = self.call("div", value or ONE, raised)
        return value or ONE

    # Reductions

    def totals(self, nodes: Sequence[Reduce], envs: list[Env]) -> list[list[Atom]]:
        """Sums over the same indices: an accumulator for each at each point, terms in the order of the equation."""
        node = nodes[0]
        picks, _, _ = self.sort(flat_factors(node.body), node.indices)
        looped = [i for i in node.indices if i not in picks]
        # Where a sum around this one has its terms in the lanes, those are taken.
        alone = self.split and not any(self.vector(node, env) for env in envs)
        lanes = self.reduction_lane(node.body, looped) if alone or not node.free else None
        for each in nodes:
            self.outside(each, envs)
        vector = lanes is not None or self.vector(node, envs[0])
        accumulators = [self.variables("s", "vec" if vector else "real", ZERO, len(envs)) for _ in nodes]
        bodies = [self.adding(each, own) for each, own in zip(nodes, accumulators, strict=True)]

        def body(points: list[Env], alive: Atom | None) -> None:
            for add in bodies:
                add(points, alive)

        with self.cutting(node):
            self.loop(looped, envs, body, lanes)
        if lanes is None:
            return [[*own] for own in accumulators]
        return [[self.let(ir.Call("hsum", (a,), "real")) for a in own] for own in accumulators]

    @contextmanager
    def cutting(self, node: Reduce) -> Generator[None]:
        """The loops of this sum may leave out what one of its factors makes 0."""
        before, self.padded = self.padded, padded_factors(node)
        yield
        self.padded = before

    def adding(self, node: Reduce, accumulators: Sequence[ir.Local]) -> Body:
        """What adds one term of a sum to the accumulator of each point."""
        picks, brackets, rest = self.sort(flat_factors(node.body), node.indices)

        def body(points: list[Env], alive: Atom | None) -> None:
            for v, ids in picks.items():
                points = [{**env, v: self.found(ids, env)} for env in points]
            conditions = [[self.bracket(b, env) for b in brackets] for env in points]
            for factor in rest:
                if not isinstance(factor, Component):
                    self.many(factor, points)
            for n in turns(rest, points):
                terms = [self.many(factor, [points[n]])[0] for factor in rest]
                flags = conditions[n] + ([alive] if alive else [])
                self.accumulate(accumulators[n], terms, flags)

        return body

    def fresh_load(self, component: Component, env: Env) -> Atom:
        """What a component holds now, whatever was read there before."""
        buffer, address, lanes = self.address(component, env)
        local = self.name("a", "vec" if lanes else "real")
        self.statements.append(ir.Let(local, ir.Load(buffer, address, local.kind)))
        return local

    def added(self, total: Atom, terms: Sequence[Atom]) -> Atom:
        """total + the product of the terms, rounded once."""
        if not terms:
            return self.call("add", total, ONE)
        first = terms[0]
        for factor in terms[1:-1]:
            first = self.call("mul", first, factor)
        return self.call("mac", first, terms[-1], total) if len(terms) > 1 else self.call("add", total, first)

    def accumulate(self, accumulator: ir.Local, terms: Sequence[Atom], flags: Sequence[Atom]) -> None:
        vector = accumulator.kind == "vec"
        lifted = [self.lift(t) if vector else t for t in terms] or [self.lift(ONE) if vector else ONE]
        if len(lifted) > 1:
            first = lifted[0]
            for factor in lifted[1:-1]:
                first = self.let(ir.Call("mul", (first, factor), accumulator.kind))
            value = ir.Call("mac", (first, lifted[-1], accumulator), accumulator.kind)
        else:
            value = ir.Call("add", (accumulator, lifted[0]), accumulator.kind)
        if flags:
            flag = self.every(flags)
            new = self.name("t", accumulator.kind)
            self.statements.append(ir.Let(new, value))
            value = ir.Call("choose", (flag, new, accumulator), accumulator.kind)
        self.statements.append(ir.Set(accumulator, value))

    def sort(
        self, factors: Sequence[Expr], indices: Sequence[Index]
    ) -> tuple[dict[Index, Component], list[Delta | Guard], list[Expr]]:
        """The factors of a sum's body: indices that a bracket [v = id[…]] picks, other brackets, and the rest."""
        picks: dict[Index, Component] = {}
        brackets: list[Delta | Guard] = []
        rest: list[Expr] = []
        for factor in factors:
            match factor:
                case Delta(left=left, right=Component(pad=None) as right) if (
                    (v := left.plain) is not None and v in indices and v not in picks and v not in right.free
                    and is_position(self.ids, right, v) and not any(i in picks for i in right.free)
                    and not any(self.reaches_out(other, v) for other in factors)
                ):
                    picks[v] = right
                case Delta() | Guard():
                    brackets.append(factor)
                case _:
                    rest.append(factor)
        return picks, brackets, rest

    def reaches_out(self, value: Expr, index: Index) -> bool:
        """Whether a read that an index moves reaches beyond its tensor and the zeros around it."""
        return any(
            isinstance(node, Component) and node.pad is not None and index in node.free
            and not within(node, self.places[node.tensor, False].layout) for node in nodes(value)
        )

    def found(self, ids: Component, env: Env) -> ir.Local:
        value = self.component(ids, env)
        assert isinstance(value, ir.Local)
        return value

    def extreme(self, node: Reduce, envs: list[Env]) -> list[Atom]:
        """The greatest value, or the position of the first one that is: the last index runs fastest."""
        body_node = node.body
        self.outside(node, envs)
        vector = self.vector(node, envs[0])
        kind: ir.Kind = "vec" if vector else "real"
        place: ir.Kind = "ints" if vector else "int"
        padded = isinstance(body_node, Component) and body_node.pad == "-inf"
        argmax = node.kind == "argmax"
        if padded:  # the first may be padding
            starts: Sequence[Atom] = [self.let(ir.Call("lowest", (), "real"))] * len(envs)
        else:
            first: Env = {i: Sample(Affine(), Affine()) if i.is_sample else Affine() for i in node.indices}
            starts = self.many(body_node, [{**env, **first} for env in envs])
        best = [self.variables("m", kind, start, 1)[0] for start in starts]
        where = self.variables("o", place, ir.Whole(Affine((), -1 if padded else 0)), len(envs)) if argmax else []

        def choose(points: Sequence[Env], numbers: Sequence[int]) -> None:
            values = self.many(body_node, points)
            for env, n, value in zip(points, numbers, values, strict=True):
                taken = self.lift(value) if vector else value
                better = self.call("better", taken, best[n], kind="flag")
                if where:
                    if padded:
                        unset = self.call("before", where[n], ir.Whole(Affine()), kind="flag")
                        better = self.call("either", better, unset, kind="flag")
                    position = self.counted(node.indices, env)
                    position = self.lift(position) if vector else position
                    self.statements.append(ir.Set(where[n], ir.Call("choose", (better, position, where[n]), place)))
                self.statements.append(ir.Set(best[n], ir.Call("choose", (better, taken, best[n]), kind)))

        def body(points: list[Env], alive: Atom | None) -> None:
            if not padded:
                if any(points[0][index] != Affine() for index in node.indices):
                    choose(points, range(len(points)))
                return
            assert isinstance(body_node, Component)
            for n, env in enumerate(points):
                flags = self.conditions(body_node, env)
                if flags is None:
                    continue
                bare = Component(body_node.tensor, body_node.subscripts)
                key = at(body_node, env)
                if not flags:
                    self.scopes[-1][key] = self.component(bare, env)
                    choose([env], [n])
                    continue
                with self.inside() as statements:
                    self.scopes[-1][key] = self.component(bare, env)
                    choose([env], [n])
                self.statements.append(ir.If(self.every(flags), tuple(statements)))

        self.loop(list(node.indices), envs, body, None)
        return list(where) if where else list(best)

    def pairs(self, node: Reduce, envs: Sequence[Env]) -> list[tuple[Atom, Atom]]:
        """The two terms of log Σ exp at each point: the greatest value, and the logarithm of the sum relative to it."""
        keys = [at(node, env) for env in envs]
        missing: dict[object, Env] = {}
        for key, env in zip(keys, envs, strict=True):
            if self.lookup(("rest", key)) is None:
                missing.setdefault(key, env)
        if missing:
            for key, (shift, rest) in zip(missing, self.logsumexp(node, [*missing.values()]), strict=True):
                self.scopes[-1].update({("shift", key): shift, ("rest", key): rest})
        found = [(self.lookup(("shift", key)), self.lookup(("rest", key))) for key in keys]
        return [(shift, rest) for shift, rest in found if shift is not None and rest is not None]

    def logsumexp(self, node: Reduce, envs: list[Env]) -> list[tuple[Atom, Atom]]:
        """In two passes: one finds the greatest value, one adds what the others are beside it."""
        self.outside(node, envs)
        vector = self.vector(node, envs[0])
        kind: ir.Kind = "vec" if vector else "real"
        start: Atom = self.let(ir.Call("lse_start", (), "real"))
        top = self.variables("m", kind, start, len(envs))
        sums = self.variables("s", kind, ZERO, len(envs))

        def first(points: list[Env], alive: Atom | None) -> None:
            for m, value in zip(top, self.many(node.body, points), strict=True):
                taken = self.lift(value) if vector else value
                self.statements.append(ir.Set(m, ir.Call("lse_top", (m, taken), kind)))

        def second(points: list[Env], alive: Atom | None) -> None:
            for env, m, s, value in zip(points, top, sums, self.many(node.body, points), strict=True):
                taken = self.lift(value) if vector else value
                number = self.counted(node.indices, env)
                self.statements.append(ir.Set(s, ir.Call("lse_add", (s, taken, m, number), kind)))

        self.loop(list(node.indices), envs, first, None)
        self.loop(list(node.indices), envs, second, None)
        return [(self.call("lse_shift", m), self.call("lse_rest", s)) for m, s in zip(top, sums, strict=True)]

    def outside(self, node: Reduce, envs: list[Env]) -> None:
        """Name what the body of a reduction does not take from its indices, before its loops begin."""
        for part in invariant(node.body, node.indices):
            self.many(part, envs)

    def vector(self, node: Expr, env: Env) -> bool:
        """Whether the value of a node may differ from lane to lane."""
        if any(isinstance(p := env[i], Sample) and p.at is None for i in node.free):
            return True
        lane = self.lane
        return lane is not None and any(isinstance(p := env[i], Affine) and p.coefficient(lane) for i in node.free)

    def reduction_lane(self, body: Expr, indices: Sequence[Index]) -> Index | None:
        """The index of a sum whose neighbouring terms go into the lanes: the samples, or the last one, where all that
        depends on it lies side by side."""
        for index in indices:
            if index.is_sample and self.width > 1:
                return index
        last = indices[-1] if indices else None
        if last is None or last.is_sample or not isinstance(last.extent, int) or 2 * last.extent <= self.lanes:
            return None
        return last if self.side_by_side(body, last) else None

    def side_by_side(self, body: Expr, index: Index) -> bool:
        """Whether neighbouring positions of an index are neighbours in memory, wherever `body` depends on it."""
        moving = False
        for node in nodes(body):
            if index not in node.free:
                continue
            match node:
                case Component(tensor=tensor):
                    layout = self.places[tensor, False].layout
                    step = layout.flat(own_subscripts(node)).coefficient(index)
                    if step != 1 or not (node.pad is None or within(node, layout)):
                        return False
                    moving = True
                case Add() | Multiply() | Power() | Apply():
                    pass
                case _:
                    return False
        return moving


def at(node: Expr, env: Env) -> tuple[object, ...]:
    """What a node is at a point."""
    return (node, *(position_key(env[i]) for i in node.free))


def turns(factors: Sequence[Expr], points: Sequence[Env]) -> list[int]:
    """The order in which the points take their term: each value of the factor that has the most of them is loaded, used
    and gone, while the few values of the others stay in registers."""
    def places(factor: Expr) -> list[int]:
        """For each point the number of the factor's value there."""
        seen: dict[object, int] = {}
        return [seen.setdefault(tuple(position_key(env[i]) for i in factor.free), len(seen)) for env in points]

    most = max(map(places, factors), key=max, default=[0] * len(points))
    return sorted(range(len(points)), key=most.__getitem__)
