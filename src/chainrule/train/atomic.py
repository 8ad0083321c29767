"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from os import PathLike, fspath
from typing import IO


@contextmanager
def replaced(path: str | PathLike[str]) -> Generator[IO[bytes]]:
    """A file that takes the place of another when it is written whole and on the disk; until then, whatever happens,
    the other one stays. Raises OSError, as `open` does, with the path."""
    target = fspath(path)
    name, temporary = os.path.basename(target), ""
    try:
        if os.path.exists(target) and not os.path.isfile(target):  # a device or a pipe has nothing to keep
            with open(target, "wb") as file:
                yield file
            return
        try:
            place = os.path.realpath(target)
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=os.path.dirname(place) or ".")
        except ValueError as error:  # a null byte
            raise OSError(errno.EINVAL, str(error)) from None
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(place))
        os.replace(temporary, place)
        temporary = ""
        _sync(os.path.dirname(place) or ".")
    except OSError as error:  # a full disk is reported without its path
        raise OSError(error.errno, error.strerror, target) from None
    finally:
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)


def _mode(path: str) -> int:
    """The permissions of the file that is replaced, or those that a new one gets."""
    try:
        return os.stat(path).st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync(folder: str) -> None:
    """Bring a folder's entries onto the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
