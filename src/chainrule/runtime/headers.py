"""The C text that stands in front of a model's kernels: the operations, and of the rest only what the kernels call."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal

from chainrule.ir.functions import CATALOGUE

NATIVE = {name: f.header for name, f in CATALOGUE.items() if f.header is not None}
# What the kernels name, and the file that it comes from.
PARTS = {
    **NATIVE, "logsumexp": "log.h", "power": "double.h",
    "philox": "philox.h", "barrier": "barrier.h", "batch": "batch.h",
}
_ORDER = ("exp.h", "log.h", "double.h", "philox.h", "barrier.h", "batch.h")
_NEEDS = {"log.h": ("exp.h",)}
_FUNCTIONS = frozenset({"exp.h", "log.h", "double.h"})  # one file holds them all for the field


def header(names: Iterable[str], *, over: Literal["float", "field"] = "float") -> str:
    """The text for kernels that call these functions of the catalogue, "logsumexp", "power", "philox", "barrier"."""
    wanted = {PARTS[name] for name in names} - {""}
    wanted |= {need for part in wanted for need in _NEEDS.get(part, ())}
    if over == "field":
        wanted -= _FUNCTIONS
    return "\n".join(_text(part) for part in (f"{over}.h", "memory.h", *(p for p in _ORDER if p in wanted)))


@cache
def _text(part: str) -> str:
    return files("chainrule.runtime").joinpath("csrc", part).read_text(encoding="utf-8")
