"""The loop language: kernels over flat buffers, one operation to a line.

    kernel     = name, comment, statements, split        `split` says what the workers share out
    statement  = Let(local, value)                        a name for a value, set once
               | Variable(local, value)                   an accumulator or a running choice
               | Set(local, value)                        its next value
               | Store(buffer, address, value, part)
               | Fetch(buffer, address)                   bring what lies there to the cache: it is read soon
               | For(loop, start, stop, step, body)
               | If(condition, body)
    value      = Local | Number | Load(buffer, address, kind, part) | Call(operation, arguments, kind) | Whole(affine)
    address    = Affine over loops, and strides·(values found at run time)

A value's kind says how many numbers it stands for: "vec" and "ints" have one in each lane, "real" and "int" one; "mask"
and "flag" are the answers of comparisons of the one sort and the other. Operations are named as in the C headers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from chainrule.ir.expr import NamedReal
from chainrule.ir.index import Affine, Index

Kind = Literal["vec", "real", "ints", "int", "mask", "flag"]
IN_LANES: dict[Kind, Kind] = {
    "real": "vec", "int": "ints", "flag": "mask", "vec": "vec", "ints": "ints", "mask": "mask"
}


@dataclass(frozen=True, slots=True)
class Buffer:
    """A flat array of reals or of whole numbers: an argument of its kernel."""

    name: str
    kind: Literal["real", "int"]


@dataclass(frozen=True, slots=True)
class Local:
    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational or a named real, of kind real."""

    value: Fraction | NamedReal | Literal["-inf", "samples"]
    kind: Kind = "real"


@dataclass(frozen=True, slots=True)
class Whole:
    """The value of an affine form over loops, of kind int."""

    value: Affine
    kind: Kind = "int"


@dataclass(frozen=True, slots=True)
class Address:
    """affine + Σ stride·found, in elements; what is found may differ from lane to lane."""

    affine: Affine
    found: tuple[tuple[Local, int], ...] = ()


Part = int | Local | None
"""How many lanes of a vector are read or written, from the first: a number or an int; all of them where None."""


@dataclass(frozen=True, slots=True)
class Load:
    buffer: Buffer
    address: Address
    kind: Kind
    part: Part = None


@dataclass(frozen=True, slots=True)
class Call:
    operation: str
    arguments: tuple[Atom, ...]
    kind: Kind


Atom = Local | Number | Whole
Value = Atom | Load | Call


@dataclass(frozen=True, slots=True)
class Let:
    local: Local
    value: Value


@dataclass(frozen=True, slots=True)
class Variable:
    local: Local
    value: Value


@dataclass(frozen=True, slots=True)
class Set:
    local: Local
    value: Value


@dataclass(frozen=True, slots=True)
class Store:
    buffer: Buffer
    address: Address
    value: Atom
    part: Part = None


@dataclass(frozen=True, slots=True)
class Fetch:
    buffer: Buffer
    address: Address


@dataclass(frozen=True, slots=True)
class For:
    """for (loop = start; loop + step ≤ stop; loop += step).

    A bound that is a name is a number at run time: N, blocks, full, or the worker's own share, from and to; with a
    number beside it, ("from", 96), the greater of both starts and the lesser stops. Without a start the loop goes on
    where the one before it, over the same index, came to its end.
    """

    loop: Index
    start: int | str | tuple[str, int] | Local | None
    stop: int | str | tuple[str, int] | Local
    step: int
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class If:
    condition: Atom
    body: tuple[Statement, ...]


Statement = Let | Variable | Set | Store | Fetch | For | If


@dataclass(frozen=True, slots=True)
class Kernel:
    """`buffers` are its arguments. `split` is what the workers share out, in units of `unit`: "blocks" of samples,
    positions of an output index with that many positions, or nothing (None): one worker does it all. One that `crosses`
    reads blocks of other workers too."""

    name: str
    comment: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    written: tuple[Buffer, ...]
    split: Literal["blocks"] | int | None
    unit: int
    body: tuple[Statement, ...]
    crosses: bool = False
