"""Statements as they are written: names for values, each named once, and the scopes in which a name is known."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from chainrule.ir.index import Extent, Index
from chainrule.loops import nodes as ir

Atom = ir.Atom


class Writer:
    """`statements` is the block being written. A value is named where it is first needed and known in the blocks
    inside; `scopes` hold what is known, the innermost last."""

    def __init__(self) -> None:
        self.statements: list[ir.Statement] = []
        self.scopes: list[dict[object, Atom]] = [{}]
        self.changing: set[Atom] = set()
        self.count = 0

    def name(self, stem: str, kind: ir.Kind) -> ir.Local:
        self.count += 1
        return ir.Local(f"{stem}{self.count}", kind)

    def let(self, value: ir.Value, stem: str = "v") -> Atom:
        """A name for a value; the same name where it is known already."""
        if isinstance(value, (ir.Local, ir.Number)):
            return value
        if isinstance(value, ir.Call) and not self.changing.isdisjoint(value.arguments):
            local = self.name(stem, value.kind)  # a variable has another value later
            self.statements.append(ir.Let(local, value))
            return local
        for scope in self.scopes:
            if value in scope:
                return scope[value]
        local = self.name(stem, value.kind)
        self.statements.append(ir.Let(local, value))
        self.scopes[-1][value] = local
        return local

    def variables(self, stem: str, kind: ir.Kind, start: Atom, count: int) -> list[ir.Local]:
        """Locals that change, each with the same first value."""
        locals_ = [self.name(stem, kind) for _ in range(count)]
        first = self.lift(start) if kind in ("vec", "ints") else start
        self.statements += [ir.Variable(local, first) for local in locals_]
        self.changing.update(locals_)
        return locals_

    @contextmanager
    def inside(self) -> Generator[list[ir.Statement]]:
        """A body of its own: what is named in it is unknown outside."""
        outer, self.statements = self.statements, []
        self.scopes.append({})
        yield self.statements
        self.scopes.pop()
        self.statements = outer

    def call(self, operation: str, *arguments: Atom, kind: ir.Kind | None = None) -> Atom:
        """An operation; where one argument is in the lanes, all are."""
        vector = any(a.kind in ("vec", "ints", "mask") for a in arguments)
        if vector:
            first = operation == "choose" and arguments[0].kind == "flag"  # one answer for all lanes stays one
            arguments = tuple(a if first and n == 0 else self.lift(a) for n, a in enumerate(arguments))
        result = kind or ("real" if not vector else "vec")
        return self.let(ir.Call(operation, arguments, ir.IN_LANES[result] if vector else result))

    def lift(self, atom: Atom) -> Atom:
        """The same number in every lane."""
        match atom.kind:
            case "real":
                return self.let(ir.Call("splat", (atom,), "vec"))
            case "int":
                return self.let(ir.Call("splat_ints", (atom,), "ints"))
            case "flag":
                return self.let(ir.Call("splat_mask", (atom,), "mask"))
            case _:
                return atom

    def every(self, flags: Sequence[Atom]) -> Atom:
        result = flags[0]
        for flag in flags[1:]:
            result = self.call("both", result, flag, kind="flag")
        return result

    def lookup(self, key: object) -> Atom | None:
        return next((scope[key] for scope in self.scopes if key in scope), None)

    def variable(self, extent: Extent, stem: str = "r") -> Index:
        """A loop of its own."""
        self.count += 1
        return Index(f"{stem}{self.count}", extent)
