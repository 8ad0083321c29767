"""The notebook that this runs in, where there is one. Nothing is imported to find out."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any:
    """IPython's, which runs cells; None where this runs without it."""
    return getattr(sys.modules.get("IPython"), "get_ipython", type(None))()


def in_notebook() -> bool:
    """Whether a kernel runs this, whose front end shows more than text."""
    return getattr(shell(), "kernel", None) is not None


def cell_id() -> str:
    """What tells the cell that runs from others: its number, where the front end says it, else its text; "" outside."""
    running = shell()
    if running is None:
        return ""
    parent: Any = running.get_parent() if hasattr(running, "get_parent") else {}
    return str(parent.get("metadata", {}).get("cellId") or running.user_ns.get("_ih", [""])[-1])
