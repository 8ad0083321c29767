"""The folder that compiled code is kept in and loaded from, with answers that took a while, one small file each.

It is ours, and writable by nobody else: an opened descriptor says so of it and all in it, and no link is followed. An
answer begins with a digest of what was asked and of itself. `docs/threat_model.md` says what this holds off.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

FOLDERS = ("objects", "answers")


def cache() -> Path:
    """$CHAINRULE_CACHE, else chainrule/ in the user's cache. Raises OSError where it is not ours alone."""
    try:
        if chosen := os.environ.get("CHAINRULE_CACHE"):
            folder = Path(chosen).expanduser().absolute()
        elif xdg := os.environ.get("XDG_CACHE_HOME"):
            folder = Path(xdg).absolute() / "chainrule"
        else:
            folder = Path.home() / ".cache" / "chainrule"
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return furnished(folder)


def furnished(folder: Path) -> Path:
    """The folder, with all that are in it. Raises OSError where one is not ours alone."""
    with opened(folder) as top:
        for name in FOLDERS:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=top)
            with opened(folder / name, top):
                pass
    return folder


@contextmanager
def opened(path: Path, within: int | None = None) -> Generator[int]:
    """The descriptor of a folder or a file that is ours alone; `within` is that of the folder it lies in. Raises
    OSError where it is another user's, or others may write to it, or it is a link or anything else."""
    if not hasattr(os, "O_NOFOLLOW"):
        raise OSError(errno.ENOTSUP, "this system does not say whose a file is", str(path))
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path if within is None else path.name, flags, dir_fd=within)
    except OSError as error:
        said = "it is a link" if error.errno in (errno.ELOOP, errno.EMLINK) else error.strerror
        raise OSError(error.errno, said, str(path)) from None
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        if stat.S_IMODE(status.st_mode) & 0o022:
            raise PermissionError(f"others may write to {path}; chmod go-w takes that away")
        if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
            raise PermissionError(f"{path} is neither a folder nor a file")
        yield handle
    finally:
        os.close(handle)


@contextmanager
def folder_of(path: Path) -> Generator[int]:
    """The descriptor of the folder of a cache that a file lies in. Raises OSError where it, or the cache, is not ours
    alone."""
    with opened(path.parent.parent) as top, opened(path.parent, top) as folder:
        yield folder


def content(path: Path, folder: int) -> bytes:
    """What a file in an opened folder holds. Raises OSError where it is not ours alone."""
    with opened(path, folder) as handle, open(handle, "rb", closefd=False) as file:
        return file.read()


def kept_answer(name: str, folder: Path | None = None) -> str | None:
    """The answer kept by this name, in the cache or another folder that is furnished. None where there is none, or what
    is there is damaged, not ours alone, or the answer to another question."""
    try:
        path = (folder or cache()) / "answers" / name
        with folder_of(path) as inner:
            proof, _, answer = content(path, inner).decode().partition("\n")
    except (OSError, ValueError):
        return None
    return answer if proof == _proof(name, answer) else None


def keep_answer(name: str, answer: str, folder: Path | None = None) -> None:
    """Keep an answer, whole or not at all. Raises OSError where there is no place to keep it in."""
    folder = folder or cache()
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as place:  # swept away if this is killed
        made = Path(place) / "answer"
        made.touch(0o600)
        made.write_text(f"{_proof(name, answer)}\n{answer}", encoding="utf-8")
        os.replace(made, folder / "answers" / name)


def _proof(name: str, answer: str) -> str:
    return sha256(f"{name}\n{answer}".encode()).hexdigest()
