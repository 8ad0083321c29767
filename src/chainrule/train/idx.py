"""IDX files, the format of MNIST: a magic number, the extents, and the values, all big-endian; often gzipped.

Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, "File formats for vectors and multi-dimensional matrices".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
AXES = 8
PIECE = 1 << 20
RATIO = 1032  # deflate never makes more bytes of one
_AGAIN = "download the file again"


def read_idx(path: Path) -> NDArray[Any]:
    """The array in an IDX file, gzipped or not, in the byte order of the machine. Nothing is allocated beyond what the
    file holds.

    Raises DataError naming the file, what was found and the fix; OSError as `open` does.
    """
    size = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            return _read(raw, path, size)
        try:
            with gzip.open(raw) as file:
                return _read(cast(IO[bytes], file), path, size * RATIO)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is a damaged gzip file: {error}", fix=_AGAIN) from None


def _read(file: IO[bytes], path: Path, limit: int) -> NDArray[Any]:
    """`limit` is the most bytes that can follow, whatever the header says."""
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError(f"{path} holds {len(magic)} bytes, too few for an IDX file", fix=_AGAIN)
    zero, kind, rank = magic[:2], magic[2], magic[3]
    if zero != b"\0\0" or kind not in TYPES or not 1 <= rank <= AXES:
        raise DataError(
            f"{path} starts with the bytes {magic.hex(' ')}, which is no IDX magic number: two zeros, a type "
            f"(08, 09, 0b … 0e) and 1 … {AXES} axes",
            fix="give an IDX file such as MNIST's train-images-idx3-ubyte, gzipped or not",
        )
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise DataError(f"{path} ends within its header of {rank} extents", fix=_AGAIN)
    shape = struct.unpack(f">{rank}I", header)
    dtype = np.dtype(TYPES[kind])
    wanted = math.prod(shape) * dtype.itemsize
    if not wanted:
        raise DataError(f"{path} holds no values: its extents are {_by(shape)}", fix=_AGAIN)
    data, left = bytearray(), limit - 4 - 4 * rank
    while wanted <= left and len(data) <= wanted:  # one byte more than it should hold is enough to know
        piece = file.read(min(PIECE, wanted + 1 - len(data)))
        if not piece:
            break
        data += piece
    if len(data) != wanted:
        found = (
            f"more than {wanted:,}"
            if len(data) > wanted
            else f"{len(data):,}"
            if wanted <= left
            else f"at most {left:,}"
        )
        raise DataError(
            f"{path} should hold {_by(shape)} values in {wanted:,} bytes after its header, but holds {found}",
            fix=f"{_AGAIN}: it is {'too long' if len(data) > wanted else 'truncated'}",
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
