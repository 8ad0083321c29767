"""Files as they are, or packed by gzip, bzip2, xz or zip, as their first bytes say; never more than a text could have
been packed to."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from chainrule.errors import DataError

SUFFIXES = (".gz", ".bz2", ".xz", ".zip")
PACKED = 100  # text is seldom packed to less than a hundredth
SMALL = 1 << 26
_DAMAGED = (EOFError, zlib.error, zipfile.BadZipFile, struct.error, MemoryError)


def check_size(path: Path) -> None:
    """Refuse what would be waited for, and what unpacks to more than a text could have been packed."""
    if not path.is_file():
        raise DataError(f"{path} is no regular file", fix="save what it gives as a file first")
    most = max(SMALL, PACKED * path.stat().st_size)
    found = 0
    with unpacked(path) as file:
        while found <= most and (part := file.read(1 << 20)):
            found += len(part)
    if found > most:
        raise DataError(f"{path} unpacks to more than {most:,} bytes", fix="unpack it, and give that")


@contextmanager
def unpacked(path: Path) -> Generator[IO[bytes]]:
    """The content of a file. Raises DataError where it is damaged, or an archive of several files; OSError, as `open`
    does."""
    with path.open("rb") as raw:
        file = raw
        try:
            file = _reader(raw, path)
            yield file
        except _errors() as error:
            if isinstance(error, OSError) and (file is raw or error.filename is not None):
                raise
            about = str(error) or type(error).__name__
            raise DataError(f"{path} is a damaged packed file: {about}", fix="pack it again") from None


def _errors() -> tuple[type[Exception], ...]:
    """What is raised of a damaged file; bzip2 and gzip raise an OSError that has no file."""
    with suppress(ImportError):  # a Python may be built without it
        from lzma import LZMAError

        return *_DAMAGED, OSError, LZMAError
    return *_DAMAGED, OSError


def _reader(raw: IO[bytes], path: Path) -> IO[bytes]:
    start = raw.read(10)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if start.startswith(b"PK\3\4"):
        return _only_member(raw, path)
    try:  # a Python may be built without these two
        if start.startswith(b"BZh") and start.endswith(b"1AY&SY"):
            from bz2 import BZ2File

            return cast(IO[bytes], BZ2File(raw))
        if start.startswith(b"\xfd7zXZ\0"):
            from lzma import LZMAFile

            return cast(IO[bytes], LZMAFile(raw))
    except ImportError as error:
        raise DataError(f"{path} cannot be unpacked here: {error}", fix="unpack it, and give that") from None
    return raw


def _only_member(raw: IO[bytes], path: Path) -> IO[bytes]:
    """The file in an archive that holds one."""
    try:
        archive = zipfile.ZipFile(raw)
        files = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
        usual = all(one.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for one in files)
        opened = archive.open(files[0]) if len(files) == 1 and usual else None
    except (RuntimeError, ValueError, OSError) as error:  # encrypted, or damaged: it can send to before its start
        raise DataError(f"{path} cannot be unpacked: {error}", fix="unpack it, and give that") from None
    if opened is None:
        why = "is packed as few programs can" if len(files) == 1 else f"holds {len(files)} files, not one table"
        raise DataError(f"{path} {why}", fix="unpack it, and give the table")
    return opened
