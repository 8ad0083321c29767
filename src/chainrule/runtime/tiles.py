"""Measured tiles: which register tile of a kernel is quickest on this processor with this compiler.

They are an answer in the cache, one for each processor and compiler. A tile changes no result, so one that is lost,
damaged or outdated costs time only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from chainrule.loops.schedule import Tile
from chainrule.runtime.cache import keep_answer, kept_answer
from chainrule.runtime.compiler import Target, find_compiler


def measured(target: Target) -> dict[str, Tile]:
    """The tiles measured before, by the keys of their kernels."""
    found: dict[str, list[int]] = json.loads(kept_answer(_name(target)) or "{}")
    return {key: tuple(tile) for key, tile in found.items()}


def remember(target: Target, tiles: Mapping[str, Tile | None]) -> None:
    """Put tiles beside those measured before, and with None the model's choice. Raises OSError where the cache cannot
    be written to."""
    every = {key: tile for key, tile in {**measured(target), **tiles}.items() if tile is not None}
    keep_answer(_name(target), json.dumps(every))


def _name(target: Target) -> str:
    compiler = find_compiler(target)
    identity = compiler.identity if compiler else None
    return "tiles-" + sha256(repr((target.cpu, target.flags, target.lanes, identity)).encode()).hexdigest()[:32]
