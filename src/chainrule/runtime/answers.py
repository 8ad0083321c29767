"""Answers that took a while, kept beside compiled models: one small file each.

What is lost or damaged is asked again.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from chainrule.runtime.build import cache

_END = "\n"  # of a whole answer


def kept_answer(name: str) -> str | None:
    """The answer kept by this name, None where there is none."""
    try:
        text = (cache() / "answers" / name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return text[: -len(_END)] if text.endswith(_END) else None


def keep_answer(name: str, answer: str) -> None:
    """Keep an answer where there is a cache to keep it in."""
    with contextlib.suppress(OSError):
        folder = cache() / "answers"
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache()) as place:  # swept away if this is killed
            made = Path(place) / "answer"
            made.write_text(answer + _END, encoding="utf-8")
            os.replace(made, folder / name)
