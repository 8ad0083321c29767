"""Who says that one of several processes was killed: it cannot say so itself, and mpirun, which ends the others, knows
no ranks. A process of its own, beside rank 0, holds a connection to each; when one breaks off without a word, the one
that a signal has ended is named. This file is run by itself, and stands on Python alone.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 5.0  # seconds in which a connection stands, or there is none
LAUNCHERS = "mpi", "hydra", "orte", "prte"
BYE, SAID = b"bye\n", b"said\n"
SIGNALED = 0x400  # PF_SIGNALED of Linux's include/linux/sched.h: a signal ends this process


class Guard:
    """The connection of a process, by a communicator of mpi4py, from the first step to the last. Where there can be
    none, as through a firewall, nobody is named, and all else is the same."""

    def __init__(self, communicator: Any) -> None:
        rank, size, here = communicator.rank, communicator.size, socket.gethostname()
        near = len(set(communicator.allgather(here))) == 1
        where = communicator.bcast(started(size, near) if rank == 0 else None)
        self.connection: socket.socket | None = None
        if where is not None:
            host, port, word = where
            with suppress(OSError):
                made = socket.create_connection(("localhost" if near else host, port), PATIENCE)
                seen = os.getpid() if here == host else 0  # what it is to the guardian's machine
                made.sendall(f"{word} {seen} rank {rank} of {size} on {here}\n".encode())
                self.connection = made
        communicator.Barrier()

    def leave(self, *, said: bool = False) -> None:
        """End in order; or `said`, after a line of this process's own: then nobody is named any more."""
        if self.connection is not None:
            with suppress(OSError):
                self.connection.sendall(SAID if said else BYE)
            self.connection.close()
            self.connection = None


def started(size: int, near: bool) -> tuple[str, int, str] | None:
    """Start the guardian: where it listens, and the word by which it knows its own; None where it cannot be started."""
    word, (above, errors) = secrets.token_hex(16), launcher()
    try:
        with socket.create_server(("localhost" if near else "", 0), backlog=max(size, 64)) as listening:
            command = [sys.executable, "-I", "-S", __file__, str(listening.fileno()), word, str(above)]
            subprocess.Popen(
                command, pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # who ends the processes of a job does not end it before it has spoken
            )
            return socket.gethostname(), listening.getsockname()[1], word
    except (OSError, ValueError):  # no port or process is to be had, or the system hands none on
        return None
    finally:
        if errors is not None:
            os.close(errors)


def launcher() -> tuple[int, int | None]:
    """The process that has started this job, where it is found on this machine, and where its errors go to. What its
    processes write to it hands on only until it sees that one is dead, and that may be too early for a line."""
    pid, above = os.getppid(), 0
    try:
        while pid > 1:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
            if not any(word in name for word in LAUNCHERS):
                break
            above, pid = pid, int(rest.split()[1])
        return above, os.open(f"/proc/{above}/fd/2", os.O_WRONLY | os.O_APPEND) if above else None
    except (OSError, ValueError):
        return 0, None


def status(pid: int) -> list[str]:
    """What proc_pid_stat(5) has of a process after its name; nothing of one that is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def gone(pid: int) -> bool:
    """Whether a process has ended. One that has and that nobody has asked for is a zombie."""
    return status(pid)[:1] in ([], ["Z"])


def signaled(name: str) -> bool | None:
    """Whether a signal ends a process of this machine, though its connection may still stand; None of one that is no
    more, or elsewhere."""
    found = status(int(name.split()[0]))
    return bool(int(found[6]) & SIGNALED) if found else None


def killed(first: str, names: Iterable[str]) -> str:
    """Of those that end, the one that was killed: the `first` whose connection breaks off, unless it ends by itself.
    The kernel takes a process's memory before its connections: another, which was reading there, may go before it."""
    return next(filter(signaled, names), first) if signaled(first) is False else first


def broken(listening: socket.socket, word: str) -> str | None:
    """The process that is killed, when a first connection breaks off. None where all leave in order, or one has said
    itself why not."""
    waiting, heard = selectors.DefaultSelector(), dict[socket.socket, bytes]()
    names = dict[socket.socket, str]()
    waiting.register(listening, selectors.EVENT_READ)
    known = False
    while not known or heard:
        events = waiting.select(None if known else 2 * PATIENCE)
        if not events:
            return None
        for key, _ in events:
            one = key.fileobj
            assert isinstance(one, socket.socket)
            if one is listening:
                made, _ = listening.accept()
                waiting.register(made, selectors.EVENT_READ)
                heard[made] = b""
                continue
            try:
                data = one.recv(512)
            except OSError:
                data = b""
            heard[one] += data
            first, whole, _ = heard[one].partition(b"\n")
            own, _, name = first.decode(errors="replace").partition(" ")
            ours = bool(whole) and own == word
            known = known or ours
            if ours:
                names[one] = name
            if ours and heard[one].endswith(SAID):
                return None
            if ours and not data:
                return killed(name, names.values()).partition(" ")[2]
            if not data or heard[one].endswith(BYE) or len(heard[one]) > 1024:
                waiting.unregister(one)
                one.close()
                del heard[one]
                names.pop(one, None)
    return None


def main() -> None:
    found = broken(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    if found is not None:
        above, end = int(sys.argv[3]), time.monotonic() + PATIENCE
        # What the launcher writes into a file goes to where its last words end, over what others append.
        while above and stat.S_ISREG(os.fstat(2).st_mode) and not gone(above) and time.monotonic() < end:
            time.sleep(0.02)
        line = f"chainrule: {found} was killed, perhaps for want of memory; all processes end\n"
        os.write(2, line.encode(errors="replace"))


if __name__ == "__main__":
    main()
