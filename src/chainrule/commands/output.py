"""What all commands say and write: lines for people, documents, files."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

from chainrule.arguments import fitted
from chainrule.errors import printable


def say(text: str) -> None:
    """A line for people, on standard output."""
    print(fitted(printable(text), sys.stdout))


def warn(text: str) -> None:
    """A line for people, on standard error."""
    print(fitted(printable(text), sys.stderr), file=sys.stderr)


def note(message: Warning | str, *where: Any, **more: Any) -> None:
    """A warning, as the line for people that it is; where in the program it was raised says nothing to them."""
    warn(f"note: {message}")


def put(text: str) -> None:
    """A document or a table on standard output; on a terminal what could steer it is shown instead."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)


def writable(path: Path) -> None:
    """Refuse a path that cannot be written before the work is done."""
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "there is no such folder", str(path.parent))
    if path.exists() and not path.is_file():  # a device or a pipe: opening it could wait, or act
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "cannot be written", str(path))
        return
    new = not path.exists()
    with path.open("ab"):  # what permissions say is not all: file systems refuse too
        pass
    if new:
        path.unlink()


def write(path: Path, content: str | bytes) -> None:
    try:
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:  # a full disk is reported without its path
        raise OSError(error.errno, error.strerror, str(path)) from None
