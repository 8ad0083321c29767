"""Measured tiles: which register tile of a kernel is quickest on this processor with this compiler.

They lie beside the objects in the cache, one file for each processor and compiler. A tile changes no result, so a lost,
damaged or outdated file costs time only.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from chainrule.loops.schedule import Tile
from chainrule.runtime.build import cache
from chainrule.runtime.compiler import Target, find_compiler


def measured(target: Target) -> dict[str, Tile]:
    """The tiles measured before, by the keys of their kernels; none where there is no file that can be read."""
    try:
        path = _path(target)
        return dict(_read(path, path.stat().st_mtime_ns))
    except OSError:
        return {}


def remember(target: Target, tiles: Mapping[str, Tile | None]) -> None:
    """Put tiles beside those measured before, and with None the model's choice. Raises OSError where the cache cannot
    be written to."""
    path = _path(target)
    every = {key: tile for key, tile in {**measured(target), **tiles}.items() if tile is not None}
    with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as place:  # swept away if this is killed
        made = Path(place) / "tiles"
        made.write_text(json.dumps(every), encoding="ascii")
        os.replace(made, path)


def _path(target: Target) -> Path:
    compiler = find_compiler(target)
    identity = compiler.identity if compiler else None
    name = sha256(repr((target.cpu, target.flags, target.lanes, identity)).encode()).hexdigest()[:32]
    return cache() / f"tiles-{name}.json"


@lru_cache(maxsize=4)
def _read(path: Path, modified: int) -> dict[str, Tile]:
    try:
        found: Any = json.loads(path.read_text(encoding="ascii"))
    except (ValueError, RecursionError):
        return {}
    pairs = cast(dict[str, list[Any]], found) if isinstance(found, dict) else {}
    return {key: tuple(tile) for key, tile in pairs.items() if _is_tile(tile)}


def _is_tile(found: object) -> bool:
    return isinstance(found, list) and all(type(side) is int for side in cast(list[Any], found))
