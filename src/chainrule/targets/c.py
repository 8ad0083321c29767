"""Kernels as C99 with GNU vectors: a printer, which knows the operations' names and C's precedence and nothing else.

A kernel is a function of the number of samples, the worker's share (from, to) and its buffers. A step is printed stage
by stage, within the loop over steps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from textwrap import wrap

from chainrule.ir.expr import Tensor
from chainrule.ir.index import Affine, Index
from chainrule.loops import nodes as ir
from chainrule.loops.plan import Barrier, Check, Deliver, Draw, Gather, Plan, Prefetch, Rows, Stage, Turns

PRIME = 2**61 - 1
COLUMNS = 110
OFTEN = 2
"""A vector that is used more often stays in a register; compilers like to load it anew for each use."""
INFIX = {"plus": "+", "minus": "-", "times": "*"}
COMPARE = {"same": "==", "before": "<", "both": "&&", "either": "||"}
TYPES: Mapping[ir.Kind, str] = {
    "vec": "vec", "real": "real", "ints": "ints", "int": "long", "mask": "mask", "flag": "int"
}
VECTORS = ("vec", "ints", "mask")


def kernel(of: ir.Kernel, width: int, single: bool = False) -> str:
    """The function of one kernel, below its equations; with `single` for one sample, which the compiler may know."""
    return _Printer(of, width, single).text()


class _Printer:
    def __init__(self, of: ir.Kernel, width: int, single: bool) -> None:
        self.kernel, self.width, self.single = of, width, single
        self.uses = Counter[ir.Local]()
        self.continued = set[Index]()
        """Loop variables with which a later loop goes on."""
        for statement in _all(of.body):
            self.uses.update(_locals(statement))
            if isinstance(statement, ir.For) and statement.start is None:
                self.continued.add(statement.loop)
        self.inlined: dict[ir.Local, str] = {}

    def text(self) -> str:
        body = list(self.block(self.kernel.body, 1))
        named = [*_names(self.kernel.body)]
        arguments = ["long N", "long from", "long to"]
        for buffer in self.kernel.buffers:
            const = "" if buffer in self.kernel.written else "const "
            kind = "whole" if buffer.kind == "int" else "real"
            arguments.append(f"{const}{kind} *restrict {buffer.name}")
        lines = [f"/* {self.kernel.comment[0]}", *(f"   {line}" for line in self.kernel.comment[1:])]
        lines[-1] += " */"
        whole = ", ".join(argument.replace(" ", "\xa0") for argument in arguments)  # lines break behind commas
        signature = wrap(f"KERNEL void {self.kernel.name}({whole})", COLUMNS, subsequent_indent=" " * 8)
        lines += [line.replace("\xa0", " ") for line in signature]
        lines.append("{")
        if "blocks" in named or any("blocks" in line for line in body):
            lines.append(f"    const long blocks = {'1' if self.single else f'(N + {self.width - 1}) / {self.width}'};")
        if "full" in named:
            lines.append(f"    const long full = {'1' if self.single else f'N / {self.width}'};")
        return "\n".join([*lines, *body, "}"])

    def block(self, statements: Sequence[ir.Statement], depth: int) -> Iterator[str]:
        pad = "    " * depth
        for number, statement in enumerate(statements):
            match statement:
                case ir.Let(local=local, value=value):
                    if self.uses[local] == 1 and _next_to_use(local, value, statements[number + 1 :]):
                        self.inlined[local] = self.value(value)
                    elif self.uses[local]:
                        text = self.value(value)
                        if isinstance(value, ir.Load) and local.kind == "vec" and self.uses[local] > OFTEN:
                            text = f"held({text})"
                        yield f"{pad}const {TYPES[local.kind]} {local.name} = {text};"
                case ir.Variable(local=local, value=value):
                    yield f"{pad}{TYPES[local.kind]} {local.name} = {self.value(value)};"
                case ir.Set(local=local, value=value):
                    yield f"{pad}{local.name} = {self.value(value)};"
                case ir.Store():
                    yield f"{pad}{self.store(statement)}"
                case ir.Fetch(buffer=buffer, address=address):
                    yield f"{pad}prefetch({self.pointer(buffer, address)});"
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
        elif of.loop in self.continued:
            yield f"{pad}long {name} = {self.bound(of.start, '>')};"
            yield f"{pad}for (; {last}; {advance}) {{"
        else:
            yield f"{pad}for (long {name} = {self.bound(of.start, '>')}; {last}; {advance}) {{"
        if any(map(_chooses, of.body)):
            yield f"{pad}    AS_WRITTEN;"
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
            return f"store_part{suffix}({where}, {what}, {self.count(of.part)});"
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
            where, suffix = self.pointer(of.buffer, of.address), "_ints" if of.kind == "ints" else ""
            if of.part is not None:
                return f"load_part{suffix}({where}, {self.count(of.part)})"
            return f"load{suffix}({where})"
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
        if name in ("least", "most"):
            sign = "<" if name == "least" else ">"
            return f"({values[0]} {sign} {values[1]} ? {values[0]} : {values[1]})"
        if name in COMPARE and of.kind == "flag":
            return f"({values[0]} {COMPARE[name]} {values[1]})"
        if name == "power":
            exponent = of.arguments[1]
            assert isinstance(exponent, ir.Number) and isinstance(exponent.value, Fraction)
            values[1:] = [str(exponent.value.numerator), str(exponent.value.denominator)]
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
    """A number for both arithmetics: the double nearest to it, of which the compiler takes the nearest float, and the
    field element."""
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


def _chooses(statement: ir.Statement) -> bool:
    """Whether a statement chooses between two single numbers, outside of a loop of its own."""
    match statement:
        case ir.If(body=body):
            return any(map(_chooses, body))
        case ir.Let(value=value) | ir.Variable(value=value) | ir.Set(value=value) if isinstance(value, ir.Call):
            return value.operation == "choose" and value.arguments[0].kind == "flag" and value.kind not in VECTORS
        case _:
            return False


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
                if operation in ("least", "most"):  # written twice
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
        case ir.For(start=start, stop=stop):
            yield from (bound for bound in (start, stop) if isinstance(bound, ir.Local))
        case ir.If(condition=condition):
            yield from _value_locals(condition)
        case ir.Fetch(address=address):
            yield from (local for local, _ in address.found)


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


# A step from its kernels


PARTS = 2
SPLIT = """
#ifdef PART
#define KERNEL __attribute__((visibility("hidden")))
#define IN_PART(n) (PART == n)
#else
#define KERNEL static
#define IN_PART(n) 1
#endif
"""
HEAD = """
/* m: memory, in the order of `slots`; n: {samples, batch, first step, last step, seed, steps before}. Returns the
   number of the step whose loss was not finite, or -1. */
__attribute__((visibility("default"))) long chainrule_run(void *const *m, const long *n, team *t, long worker)
{
    const long samples = n[0], batch = n[1], first = n[2], last = n[3], workers = t->workers;
    real *const blocks_memory = m[0], *const common = m[1];
    const long *const order = m[2];
"""


def source(lowered: Plan) -> str:
    """The C of one step and of the loop over steps; what it calls stands in the headers."""
    return _Step(lowered).text()


def functions(lowered: Plan) -> set[str]:
    """What the kernels call, as the headers name it."""
    called: set[str] = {"barrier", "batch"}
    for each in lowered.kernels:
        for statement in _all(each.body):
            match statement:
                case ir.Let(value=ir.Call(operation=name)) | ir.Set(value=ir.Call(operation=name)) | ir.Variable(
                    value=ir.Call(operation=name)
                ):
                    called.add(_part(name))
                case _:
                    pass
    return called | ({"philox"} if lowered.task.drawn else set())


def _part(operation: str) -> str:
    return "logsumexp" if operation.startswith("lse_") else operation.rstrip("_")


class _Step:
    def __init__(self, lowered: Plan) -> None:
        self.of, self.slots = lowered, lowered.task.slots
        gathers = lowered.turns.gathers if lowered.turns else ()
        self.turning = {tensor for each in gathers for tensor in (each.tensor, each.given)}

    def text(self) -> str:
        """The whole program is one text; with PART defined it compiles that part of the kernels alone, so that
        compilers side by side make it and a linker joins it."""
        kernels = [kernel(each, self.of.width, self.of.single) for each in self.of.kernels]
        weights, parts = [0] * PARTS, list[list[str]]()
        for text in kernels:
            lightest = min(range(PARTS), key=weights.__getitem__)
            weights[lightest] += text.count("\n")
            parts.append([f"#if IN_PART({lightest})", text, "#endif"])
        prototypes = [text[: text.index("\n{")].partition("*/\n")[2] + ";" for text in kernels]
        step = ["#if IN_PART(0)", HEAD.strip() + "\n" + "\n".join(self.body()) + "\n}", "#endif"]
        return "\n\n".join([SPLIT.strip(), "\n".join(prototypes), *("\n".join(p) for p in (*parts, step))]) + "\n"

    def body(self) -> Iterator[str]:
        of = self.of
        for tensor in (*of.task.data, *of.task.kept, *of.task.outputs):
            name = of.names[tensor]
            kind = _type(tensor)
            if tensor in of.task.kept:
                if tensor not in of.task.stepwise:
                    yield f"    real *const {name} = m[{self.slots[tensor]}];"
            elif tensor in of.task.data:
                const = "" if tensor in of.task.drawn else "const "
                yield f"    {const}{kind} *const given_{name} = m[{self.slots[tensor]}];"
        for tensor in of.task.outputs:
            yield f"    real *const out_{of.names[tensor]} = m[{self.slots['out', tensor]}];"
        for (tensor, rows), where in of.stored.items():
            if where.region != "kept" and tensor not in of.views:
                kind = _type(tensor)
                memory = "blocks_memory" if where.region == "blocks" else "common"
                cast = "(whole *)" if kind == "whole" else ""
                const = "" if tensor in self.turning else "const "
                yield f"    {kind} *{const}{of.names[tensor]}{'r' if rows else ''} = {cast}({memory} + {where.offset});"
        if of.turns:
            yield from self.begin(of.turns)
        yield f"    MARKS(m[{self.slots['ticks']}]);"
        yield "    for (long step = first; step < last; step++) {"
        yield from self.batch("step")
        for tensor in of.task.stepwise:
            yield f"        real *const {of.names[tensor]} = (real *)m[{self.slots[tensor]}] + step;"
        number = 0
        for after, stage in enumerate(of.stages, 1):
            if not isinstance(stage, Barrier):  # a stage's time is the slowest worker's
                yield f"        MARK({number});"
                number = after
            yield from self.stage(stage)
        yield f"        MARK({number});"
        yield "    }"
        yield "    return -1;"

    def batch(self, step: str) -> Iterator[str]:
        """The samples of a step, and the blocks of them that are the worker's own."""
        width = self.of.width
        yield f"        const long begin = {step} * batch, N = samples - begin < batch ? samples - begin : batch;"
        yield f"        const long blocks = (N + {width - 1}) / {width};"
        yield "        const long own = blocks * worker / workers, end = blocks * (worker + 1) / workers;"

    def begin(self, turns: Turns) -> Iterator[str]:
        yield "    {"
        yield from self.batch("first")
        for stage in turns.opening:
            yield from self.stage(stage)
        yield "    }"

    def end(self, turns: Turns) -> Iterator[str]:
        names, update, first = self.of.names, turns.update, turns.first
        yield "        if (step + 1 < last) {"
        yield "            {"
        yield from (f"        {line}" for line in self.batch("(step + 1)"))
        for stage in turns.closing:
            yield from (f"        {line}" for line in self.stage(stage))
        yield "            }"
        if turns.both:
            yield from (f"    {line}" for line in self.stage(turns.both))
        else:
            yield "            const long rest = samples - begin - batch, M = rest < batch ? rest : batch;"
            yield "            long from, to;"
            yield f"            share({update.split}, {turns.positions}, worker, workers, &from, &to);"
            yield f"            for (; from < to; from += {turns.positions}) {{"
            yield f"                const long stop = from + {turns.positions} < to ? from + {turns.positions} : to;"
            yield f"                {update.name}(N, from, stop, {', '.join(b.name for b in update.buffers)});"
            others = {names[each.given]: names[each.tensor] for each in turns.gathers}
            arguments = (others.get(b.name, b.name) for b in first.buffers)
            yield f"                {first.name}(M, from, stop, {', '.join(arguments)});"
            yield "            }"
        for each in turns.gathers:
            kind, old, new = _type(each.tensor), names[each.given], names[each.tensor]
            yield f"            {kind} *const {old}_was = {old};"
            yield f"            {old} = {new}, {new} = {old}_was;"
        yield "        } else {"
        yield from self.stage(update)
        yield "        }"

    def size(self, tensor: Tensor) -> int:
        return math.prod(self.of.stored[tensor, False].layout.extents)

    def draw(self, tensor: Tensor) -> Iterator[str]:
        size, width = self.size(tensor), self.of.width
        number, probability = self.of.task.drawn[tensor]
        start = f"own * {width * size}"
        count = f"((end * {width} < N ? end * {width} : N) - own * {width}) * {size}"
        call = f"given_{self.of.names[tensor]} + {start}, {start}, {count}, (word)n[4], {number}, (word)(n[5] + step)"
        yield f"        if (own < end) draw_{'uniform' if probability is None else 'mask'}({call}" + (
            ");" if probability is None else f", {float(probability).hex()});"
        )

    def gather(self, tensor: Tensor, given: Tensor) -> Iterator[str]:
        """The samples of the batch into the worker's blocks; lanes behind the last sample repeat it."""
        of, name, width = self.of, self.of.names[tensor], self.of.width
        kind = _type(tensor)
        yield "        for (long b = own; b < end; b++) {"
        yield f"            const {kind} *row[{width}];"
        yield f"            {self.rows(given)}"
        for origin, place, count in of.stored[tensor, False].layout.runs():
            where = f"{name} + b * {of.stride} + {place * width}"
            yield f"            take{'_ints' if kind == 'whole' else ''}({where}, row, {origin}, {count});"
        yield "        }"

    def gather_rows(self, tensor: Tensor) -> Iterator[str]:
        """The same into their copy in rows."""
        of, name, width, layout = self.of, self.of.names[tensor], self.of.width, self.of.stored[tensor, True].layout
        yield "        for (long b = own; b < end; b++) {"
        yield f"            const real *row[{width}];"
        yield f"            {self.rows(tensor)}"
        yield f"            for (int s = 0; s < {width}; s++) {{"
        for origin, place, count in layout.runs():
            to = f"{name}r + b * {of.stride} + s * {layout.apart} + {place}"
            yield f"                copy({to}, row[s] + {origin}, {count});"
        yield "            }"
        yield "        }"

    def rows(self, tensor: Tensor) -> str:
        """Find where the samples of block b lie in what is given: what is drawn is drawn in their order."""
        given, first, size = f"given_{self.of.names[tensor]}", f"b * {self.of.width}", self.size(tensor)
        if tensor in self.of.task.drawn:
            return f"ROWS(row, {given} + {first} * {size}, {size}, N - {first}, s);"
        return f"ROWS(row, {given}, {size}, N - {first}, order[begin + {first} + s]);"

    def prefetch(self, given: Iterable[Tensor]) -> Iterator[str]:
        width = self.of.width
        yield "        if (step + 1 < last) {"
        yield f"            const long next = begin + batch, stop = next + end * {width};"
        yield f"            for (long at = next + own * {width}; at < stop && at < samples; at++) {{"
        for tensor in given:
            size = self.size(tensor)
            yield f"                fetch(given_{self.of.names[tensor]} + order[at] * {size}, {4 * size});"
        yield "            }"
        yield "        }"

    def stage(self, stage: Stage) -> Iterator[str]:
        of = self.of
        match stage:
            case ir.Kernel(name=name, buffers=buffers, split=split, unit=unit):
                arguments = ", ".join(b.name for b in buffers)
                if split == "blocks":
                    yield f"        {name}(N, own, end, {arguments});"
                elif isinstance(split, int):
                    yield "        {"
                    yield "            long from, to;"
                    yield f"            share({split}, {unit}, worker, workers, &from, &to);"
                    yield f"            if (from < to) {name}(N, from, to, {arguments});"
                    yield "        }"
                else:
                    yield f"        if (worker == 0) {name}(N, 0, 0, {arguments});"
            case Draw(tensor=tensor):
                yield from self.draw(tensor)
            case Gather(tensor=tensor, given=given, rows=rows):
                yield from self.gather_rows(tensor) if rows else self.gather(tensor, given)
            case Prefetch(given=given):
                yield from self.prefetch(given)
            case Rows(tensor=tensor):
                name, layout = of.names[tensor], of.stored[tensor, False].layout
                yield "        for (long b = own; b < end; b++)"
                yield (
                    f"            give({name}r + b * {of.stride}, {layout.apart}, {name} + b * {of.stride}, "
                    f"{layout.size}, {of.width});"
                )
            case Deliver(tensor=tensor):
                yield from self.deliver(tensor)
            case Check(loss=loss):
                yield f"        if (!finite1({of.names[loss]}[0])) {{"
                if loss in of.task.outputs:
                    yield from self.deliver(loss)
                yield "            return step;"
                yield "        }"
            case Barrier(begins=begins):
                leaving = "if (meet(t)) return -1;  /* nothing is written before all are here */"
                yield f"        {leaving if begins else 'meet(t);'}"
            case Turns():
                yield from self.end(stage)

    def deliver(self, tensor: Tensor) -> Iterator[str]:
        of, name = self.of, self.of.names[tensor]
        size, stored = self.size(tensor), of.stored[tensor, False]
        if stored.region == "blocks":
            yield "        for (long b = own; b < end; b++) {"
            for origin, place, count in stored.layout.runs():
                to = f"out_{name} + (begin + b * {of.width}) * {size} + {origin}"
                yield (
                    f"            give({to}, {size}, {name} + b * {of.stride} + {place * of.width}, {count}, "
                    f"N - b * {of.width});"
                )
            yield "        }"
        else:
            for origin, place, count in stored.layout.runs():
                to = f"out_{name} + step * {size} + {origin}"
                yield f"        if (worker == 0) copy({to}, {name} + {place}, {count});"


def _type(tensor: Tensor) -> str:
    return "whole" if tensor.dtype == "integer" else "real"
