"""Faults at every file operation of a save, each in a process of its own: `python -m tests.train.faults FOLDER ROUNDS`.

A process that forks must have no other threads, so this is not done in the tests' own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import chainrule as cr


def dies(operation: int, path: Path, change: Callable[[], None], error: OSError | None) -> bool:
    """Carry out a change in a process of its own that is killed, or meets an error, at this file operation; whether it
    came so far."""
    child = os.fork()
    if child:
        return os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 9
    count = 0

    def counted(function: Any) -> Any:
        def call(*given: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == operation:
                if error is None:
                    os._exit(9)
                raise error
            return function(*given, **options)

        return call

    for name in ("open", "fsync", "replace", "chmod", "stat", "unlink", "close"):
        setattr(os, name, counted(getattr(os, name)))
    fdopen = os.fdopen

    def opened(*given: Any, **options: Any) -> Any:
        file = fdopen(*given, **options)
        write = counted(file.write)

        class Half:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *what: Any) -> None:
                file.close()

            def write(self, data: bytes) -> None:
                for at in range(0, len(data), 1 + len(data) // 8):
                    write(data[at : at + 1 + len(data) // 8])
                    file.flush()

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

        return Half()

    os.fdopen = opened  # type: ignore[assignment]
    with suppress(OSError):
        change()
    os._exit(9 if count >= operation else 0)


def main(folder: Path, rounds: int) -> None:
    """Print how many faults there were; fails where a file is then neither the old one nor the new one."""
    path = folder / "m.safetensors"
    model = cr.Sequential(cr.Input(6), cr.Dense(4), cr.Dense(3), loss="softmax_cross_entropy")
    model.save(path)
    old, other = path.read_bytes(), cr.Sequential(cr.Input(6), cr.Dense(4), loss="softmax_cross_entropy", seed=5)
    other.save(folder / "other")
    new, faults = (folder / "other").read_bytes(), 0
    for error in (None, OSError(28, "No space left on device")):
        for _ in range(rounds):
            operation = 1
            while True:
                died = dies(operation, path, lambda: other.save(path), error)
                assert path.read_bytes() in (old, new), operation
                cr.load(path)
                path.write_bytes(old)
                if not died:
                    break
                faults, operation = faults + 1, operation + 1
    sys.stdout.write(f"{faults}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
