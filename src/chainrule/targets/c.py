"""Kernels as C99 with GNU vectors: a printer, which knows the operations' names and C's precedence and nothing else.

A kernel is a function of the number of samples, the worker's share (from, to) and its buffers. `program` puts one step
together from kernels and copies, with barriers where one worker reads what another has written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from chainrule.ir.index import Affine
from chainrule.loops import nodes as ir

PRIME = 2**61 - 1
INFIX = {"plus": "+", "minus": "-", "times": "*"}
COMPARE = {"same": "==", "before": "<", "both": "&&", "either": "||"}
TYPES: Mapping[ir.Kind, str] = {
    "vec": "vec", "real": "real", "ints": "ints", "int": "long", "mask": "mask", "flag": "int"
}
VECTORS = ("vec", "ints", "mask")


def kernel(of: ir.Kernel, width: int) -> str:
    """The function of one kernel, below its equations."""
    return _Printer(of, width).text()


class _Printer:
    def __init__(self, of: ir.Kernel, width: int) -> None:
        self.kernel, self.width = of, width
        self.uses = Counter[ir.Local]()
        for statement in _all(of.body):
            self.uses.update(_locals(statement))
        self.inlined: dict[ir.Local, str] = {}
        self.opened: set[str] = set()

    def text(self) -> str:
        body = list(self.block(self.kernel.body, 1))
        named = [*_names(self.kernel.body)]
        arguments = ["long N", "long from", "long to"]
        for buffer in self.kernel.buffers:
            const = "" if buffer in self.kernel.written else "const "
            arguments.append(f"{const}{buffer.kind} *restrict {buffer.name}")
        lines = [f"/* {self.kernel.comment[0]}", *(f"   {line}" for line in self.kernel.comment[1:])]
        lines[-1] += " */"
        lines.append(f"static void {self.kernel.name}({', '.join(arguments)})")
        lines.append("{")
        if "blocks" in named:
            lines.append(f"    const long blocks = (N + {self.width - 1}) / {self.width};")
        if "full" in named:
            lines.append(f"    const long full = N / {self.width};")
        return "\n".join([*lines, *body, "}"])

    def block(self, statements: Sequence[ir.Statement], depth: int) -> Iterator[str]:
        pad = "    " * depth
        for number, statement in enumerate(statements):
            match statement:
                case ir.Let(local=local, value=value):
                    if self.uses[local] == 1 and _next_to_use(local, value, statements[number + 1 :]):
                        self.inlined[local] = self.value(value)
                    elif self.uses[local]:
                        yield f"{pad}const {TYPES[local.kind]} {local.name} = {self.value(value)};"
                case ir.Variable(local=local, value=value):
                    yield f"{pad}{TYPES[local.kind]} {local.name} = {self.value(value)};"
                case ir.Set(local=local, value=value):
                    yield f"{pad}{local.name} = {self.value(value)};"
                case ir.Store():
                    yield f"{pad}{self.store(statement)}"
                case ir.For():
                    yield from self.loop(statement, depth)
                case ir.If(condition=condition, body=body):
                    yield f"{pad}if ({self.value(condition)}) {{"
                    yield from self.block(body, depth + 1)
                    yield f"{pad}}}"

    def loop(self, of: ir.For, depth: int) -> Iterator[str]:
        pad, name = "    " * depth, of.loop.name
        stop = self.bound(of.stop, "<")
        last = f"{name} + {of.step - 1} < {stop}" if of.step > 1 else f"{name} < {stop}"
        advance = f"{name} += {of.step}" if of.step > 1 else f"{name}++"
        if of.start is None:
            yield f"{pad}for (; {last}; {advance}) {{"
        elif any(isinstance(s, ir.For) and s.loop is of.loop and s.start is None for s in _all(self.kernel.body)):
            yield f"{pad}long {name} = {self.bound(of.start, '>')};"
            yield f"{pad}for (; {last}; {advance}) {{"
        else:
            yield f"{pad}for (long {name} = {self.bound(of.start, '>')}; {last}; {advance}) {{"
        yield from self.block(of.body, depth + 1)
        yield f"{pad}}}"

    def bound(self, of: int | str | tuple[str, int] | ir.Local | None, sign: str) -> str:
        match of:
            case (str() as name, int() as number):
                return name if number == 0 and sign == ">" else f"({name} {sign} {number} ? {name} : {number})"
            case ir.Local():
                return self.value(of)
            case _:
                return str(of)

    def store(self, of: ir.Store) -> str:
        where, what = self.pointer(of.buffer, of.address), self.value(of.value)
        suffix = "_ints" if of.value.kind == "ints" else ""
        if of.part is not None:
            return f"store_part({where}, {what}, {self.count(of.part)});"
        if of.value.kind in VECTORS:
            return f"store{suffix}({where}, {what});"
        return f"{self.element(of.buffer, of.address)} = {what};"

    def count(self, part: ir.Part) -> str:
        return self.value(part) if isinstance(part, ir.Local) else str(part)

    def pointer(self, buffer: ir.Buffer, address: ir.Address) -> str:
        offset = self.offset(address)
        return buffer.name if offset == "0" else f"{buffer.name} + {offset}"

    def element(self, buffer: ir.Buffer, address: ir.Address) -> str:
        return f"{buffer.name}[{self.offset(address)}]"

    def offset(self, address: ir.Address) -> str:
        parts = [affine(address.affine)] if address.affine != Affine() or not address.found else []
        for local, stride in address.found:
            parts.append(self.value(local) if stride == 1 else f"{self.value(local)} * {stride}")
        return " + ".join(parts)

    def value(self, of: ir.Value) -> str:
        match of:
            case ir.Local(name=name):
                return self.inlined.get(of, name)
            case ir.Number(value=value):
                return literal(value)
            case ir.Whole(value=value):
                return affine(value) if len(value.terms) + bool(value.offset) < 2 else f"({affine(value)})"
            case ir.Load():
                return self.load(of)
            case ir.Call():
                return self.call(of)

    def load(self, of: ir.Load) -> str:
        lanes = [(local, stride) for local, stride in of.address.found if local.kind == "ints"]
        if lanes:
            (index, stride), = lanes
            rest = ir.Address(of.address.affine, tuple(f for f in of.address.found if f[0].kind != "ints"))
            return f"gather({self.pointer(of.buffer, rest)}, {self.value(index)}, {stride})"
        if of.kind in VECTORS:
            where = self.pointer(of.buffer, of.address)
            if of.part is not None:
                return f"load_part({where}, {self.count(of.part)})"
            return f"load{'_ints' if of.kind == 'ints' else ''}({where})"
        return self.element(of.buffer, of.address)

    def call(self, of: ir.Call) -> str:
        values = [self.value(a) for a in of.arguments]
        name, kinds = of.operation, [a.kind for a in of.arguments]
        if name == "choose":
            if kinds[0] == "flag":
                return f"({values[0]} ? {values[1]} : {values[2]})"
            return f"select{'_ints' if of.kind == 'ints' else ''}({', '.join(values)})"
        if name in INFIX:
            return f"({values[0]} {INFIX[name]} {values[1]})"
        if name == "least":
            return f"({values[0]} < {values[1]} ? {values[0]} : {values[1]})"
        if name in COMPARE and of.kind == "flag":
            return f"({values[0]} {COMPARE[name]} {values[1]})"
        if name == "root":
            rest = of.arguments[1]
            assert isinstance(rest, ir.Number) and isinstance(rest.value, Fraction)
            values[1:] = [str(rest.value.numerator), str(rest.value.denominator)]
        lanes = of.kind in VECTORS or "vec" in kinds
        suffix = "" if lanes or name in ("lowest", "lse_start", "inside") else "1"
        return f"{name}{suffix}({', '.join(values)})"


def affine(of: Affine) -> str:
    """b1*4096 + i2*16 + 3"""
    parts = [index.name if c == 1 else f"{index.name} * {c}" for index, c in of.terms]
    text = " + ".join(parts).replace("+ -", "- ")
    if of.offset or not parts:
        text = f"{text} {'-' if of.offset < 0 else '+'} {abs(of.offset)}" if parts else str(of.offset)
    return text


def literal(value: Fraction | str) -> str:
    """A number for both arithmetics: the nearest float, written so that it reads back exactly, and the field element."""
    if value == "samples":
        return "size_of_samples(N)"
    if isinstance(value, str):
        return f"number({float({'pi': math.pi, 'e': math.e}[value]).hex()}f, named_{value})"
    element = value.numerator * pow(value.denominator, -1, PRIME) % PRIME
    plain = f"{value.numerator}.0f" if value.denominator == 1 and abs(value) < 2**24 else f"{float(value).hex()}f"
    return f"number({plain}, {element}u)"


def _all(statements: Iterable[ir.Statement]) -> Iterator[ir.Statement]:
    for statement in statements:
        yield statement
        if isinstance(statement, (ir.For, ir.If)):
            yield from _all(statement.body)


def _value_locals(value: ir.Value) -> Iterator[ir.Local]:
    match value:
        case ir.Local():
            yield value
        case ir.Load(address=address, part=part):
            yield from (local for local, _ in address.found)
            if isinstance(part, ir.Local):
                yield part
        case ir.Call(operation=operation, arguments=arguments):
            for argument in arguments:
                yield from _value_locals(argument)
                if operation == "least":  # written twice
                    yield from _value_locals(argument)
        case _:
            pass


def _locals(statement: ir.Statement) -> Iterator[ir.Local]:
    match statement:
        case ir.Let(value=value) | ir.Variable(value=value) | ir.Set(value=value):
            yield from _value_locals(value)
        case ir.Store(address=address, value=value, part=part):
            yield from _value_locals(value)
            yield from (local for local, _ in address.found)
            if isinstance(part, ir.Local):
                yield part
        case ir.For(stop=stop):
            if isinstance(stop, ir.Local):
                yield stop
        case ir.If(condition=condition):
            yield from _value_locals(condition)


def _next_to_use(local: ir.Local, value: ir.Value, rest: Sequence[ir.Statement]) -> bool:
    """Whether the one use of a value follows in the same block, with nothing between that could change the value."""
    depends = set(_value_locals(value))
    for statement in rest:
        if local in _locals(statement):
            return not isinstance(statement, ir.For)
        match statement:
            case ir.Let():
                continue
            case ir.Set(local=changed) if changed not in depends:
                continue
            case _:
                return False
    return False


def _names(statements: Iterable[ir.Statement]) -> Iterator[str]:
    for statement in _all(statements):
        if isinstance(statement, ir.For):
            for bound in (statement.start, statement.stop):
                if isinstance(bound, str):
                    yield bound
