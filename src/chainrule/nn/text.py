"""The text of a layer's equations: read under the guards of `ir/source.py`, its options, and the extents it fixes."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from chainrule.errors import ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import Extent
from chainrule.ir.names import parts
from chainrule.ir.source import Source, guarded, lines

CONSTANTS = ("pi", "e")
LEAST, MOST = 1e-37, 1e37
_EXACT = 2**53  # every float of a whole number up to here is that number


def plain(value: Any) -> Any:
    """A NumPy scalar as a number of Python's; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def sized(name: str, value: float, about: str) -> float:
    """The number. Raises ModelError where float32, in which models compute unless told otherwise, would make it 0 or
    infinite: an epsilon would then be no guard."""
    if value and not LEAST <= abs(value) <= MOST:
        raise ModelError(
            f"{name} must be 0 or of a size between {LEAST} and {MOST}, which float32 holds, not {value!r}",
            about=about,
            fix=f"choose a {'larger' if abs(value) < LEAST else 'smaller'} {name}",
        )
    return value


def number(name: str, value: Any, about: str) -> int | float:
    """The value of an option: a finite number, whole where it is a whole number. Raises ModelError otherwise."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ModelError(
            f"the option {name!r} must be a number, not {value!r}", about=about, fix=f"write {about}({name}=1)"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ModelError(
            f"the option {name!r} must be a finite number, not {value!r}", about=about, fix=f"write {about}({name}=1)"
        )
    sized(name, value, about)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT else value


def penalty(value: Any, about: str) -> float:
    """A weight of a penalty: finite and not negative. Raises ModelError otherwise."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ModelError(
            f"l2 must be a finite number that is not negative, but is {value!r}", about=about, fix="write l2=1e-4"
        )
    return sized("l2", value, about)


@dataclass(frozen=True)
class Line:
    """One equation of a layer, and its syntax tree."""

    source: Source
    tree: ast.Assign

    @cached_property
    def names(self) -> set[str]:
        return {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}

    @property
    def target(self) -> str:
        """The name of the tensor that it defines."""
        target = self.tree.targets[0]
        target = target.value if isinstance(target, ast.Subscript) else target
        return target.id if isinstance(target, ast.Name) else ""


@lru_cache(maxsize=1024)
def read(text: str) -> tuple[Line, ...]:
    """The equations, one on each line. Raises EquationError where one cannot be read."""
    return tuple(guarded(line, lambda line=line: _line(Source(line))) for line in lines(text))


def _line(source: Source) -> Line:
    match source.tree().body:
        case [ast.Assign(targets=[_]) as tree]:
            return Line(source, tree)
        case _:
            source.error("this is no equation", "write it as in: y[n, k] = g[k] * x[n, k]")


def with_options(line: Line, options: Mapping[str, float]) -> Line:
    """The equation with the values of options in place of their names. Raises ModelError where one that is no
    positive whole number stands for an extent."""
    for node in ast.walk(line.tree) if options else ():
        if isinstance(node, ast.Compare):
            for operator, extent in zip(node.ops, node.comparators, strict=True):
                if isinstance(operator, ast.Lt) and isinstance(extent, ast.Name) and extent.id in options:
                    whole(extent.id, options[extent.id], line.source.cut(node))
    places = [n for n in ast.walk(line.tree) if isinstance(n, ast.Name) and n.id in options] if options else []
    if not places:
        return line
    # Written into the text and not into the tree: what recurses over a tree ends at Python's stack.
    encoded = line.source.text.encode()
    for node in sorted(places, key=lambda node: -node.col_offset):
        value = options[node.id]
        written = repr(value) if value >= 0 else f"({value!r})"
        encoded = encoded[: node.col_offset] + written.encode() + encoded[node.end_col_offset :]
    return read(encoded.decode())[0]


def whole(name: str, value: float, about: str) -> int:
    """The value of an option that is an extent. Raises ModelError where it is no positive whole number."""
    if not isinstance(value, int) or value < 1:
        raise ModelError(
            f"the option {name!r} is an extent and must be a positive whole number, not {value!r}",
            about=about,
            fix=f"write {name}=8",
        )
    return value


def clash(options: Iterable[str], equations: Iterable[Line], inputs: Iterable[str], own: Iterable[str]) -> None:
    """Raises ModelError where an option is named like an input, a tensor, an index or a function of the equations."""
    if not options:
        return
    taken = dict.fromkeys(CONSTANTS, "a constant") | dict.fromkeys(own, "a parameter or state")
    for line in equations:
        target = line.tree.targets[0]
        if isinstance(target, ast.Subscript):
            taken |= {part.id: "an index" for part in parts(target.slice) if isinstance(part, ast.Name)}
            target = target.value
        if isinstance(target, ast.Name):
            taken[target.id] = "a tensor"
        for node in ast.walk(line.tree):
            match node:
                case ast.Compare(left=ast.Name(id=name), ops=[ast.Lt()]):
                    taken[name] = "an index"
                case ast.Call(func=ast.Subscript(value=ast.Name(id=name), slice=over)):
                    taken[name] = "a function"
                    taken |= {part.id: "an index" for part in parts(over) if isinstance(part, ast.Name)}
                case ast.Call(func=ast.Name(id=name)):
                    taken[name] = "a function"
                case ast.Subscript(value=ast.Name(id=name)):
                    taken.setdefault(name, "a tensor")
                case _:
                    pass
    taken |= dict.fromkeys(inputs, "an input")
    for option in options:
        if option in taken:
            raise ModelError(
                f"the option {option!r} has the name of {taken[option]} of the equations",
                fix=f"give the option another name, and write that in the equations in place of {option!r}",
            )


def extents(line: Line, known: Mapping[str, Tensor]) -> dict[str, Extent]:
    """The extents that an equation's text fixes: declared ones, then plain subscripts of known tensors, then those
    of padded ones, which an index may leave."""
    declared: dict[str, Extent] = {}
    read: dict[str, Extent] = {}
    padded: dict[str, Extent] = {}
    for node in ast.walk(line.tree):
        match node:
            case ast.Compare(
                left=ast.Name(id=index), ops=[ast.Lt()],
                comparators=[ast.Constant(value=int() as extent) | ast.Name(id=extent)],
            ):
                declared.setdefault(index, extent)
            case ast.Subscript(value=ast.Name(id=name), slice=subscripts) if name in known:
                _plain_axes(subscripts, known[name], read)
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="pad"), args=[ast.Name(id=name), *_]), slice=subscripts
            ) if name in known:
                _plain_axes(subscripts, known[name], padded)
            case _:
                pass
    return {**padded, **read, **declared}


def _plain_axes(subscripts: ast.expr, tensor: Tensor, found: dict[str, Extent]) -> None:
    for part, extent in zip(parts(subscripts), tensor.shape, strict=False):
        if isinstance(part, ast.Name):
            found.setdefault(part.id, extent)
