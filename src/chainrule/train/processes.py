"""Processes that train one model together: which of them writes, what one asks of all, and that none goes on alone.

`train/ranks.py` has those of MPI. Here are those of JAX, which share the devices of all machines and feed their own.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import ChainruleError, DivergenceError, ModelError

if TYPE_CHECKING:
    from chainrule.targets import jax
    from chainrule.train.guardian import Guard


GRACE = 2.0  # seconds


class Processes(ABC):
    """All that train together, as one of them sees them: it is `number` of `count`, which people call a `kind`."""

    kind = "process"
    number: int
    count: int

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.number == 0

    @abstractmethod
    def any(self, *said: bool) -> list[bool]:
        """What one process at least says. All ask together."""

    @abstractmethod
    def wait(self) -> None:
        """Until all are here."""

    @abstractmethod
    def end(self) -> None:
        """End this process, and the others, at once."""

    def guarded(self) -> Guard | None:
        """What names a process of these that is killed, where something does."""
        return None

    def lost(self, error: BaseException) -> bool:
        """Whether an error says that another process could not be reached."""
        return False

    @contextmanager
    def failing(self, *, training: bool = False) -> Generator[None]:
        """Of what fails here the others would never know: they are ended too. A loss that is not finite is one of all
        processes, and so is Ctrl-C when it gets here. While `training`, one that is killed is named too."""
        guard = self.guarded() if training else None
        try:
            yield
        except (DivergenceError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if self.count == 1:
                raise
            if guard and self.lost(error):
                time.sleep(GRACE)  # it is the other's fault: the line that names that one comes first, and ends all
            what = f"{type(error).__name__}: {error}"
            if isinstance(error, ChainruleError):
                what = f"{error.problem}; {error.fix}" if error.fix else error.problem
            where = f"{self.kind} {self.number} of {self.count} on {socket.gethostname()}"
            sys.stderr.write(f"chainrule: {where} failed: {' '.join(what.split())}\n")
            sys.stderr.flush()
            if guard:
                guard.leave(said=True)
            self.end()
        finally:
            if guard:
                guard.leave()


class Hosts(Processes):
    """Processes of `jax.distributed`, this one among them."""

    def __init__(self) -> None:
        self.number, self.count = engine().place()

    def any(self, *said: bool) -> list[bool]:
        return [bool(n) for n in engine().gathered(np.array(said)).any(0)]

    def wait(self) -> None:
        self.any(True)

    def end(self) -> None:
        os._exit(1)  # the others lose their connection to it; to leave in order would be to wait for them


def engine() -> type[jax.Distributed]:
    """Raises ModelError where there is no JAX."""
    try:
        from chainrule.targets.jax import Distributed
    except ModuleNotFoundError:
        raise ModelError('executor="jax" needs JAX', fix='pip install "chainrule[jax]"') from None
    return Distributed


def hosts() -> Hosts | None:
    """The processes that share JAX's devices with this one, or None where there are no others."""
    found = Hosts()
    return found if found.count > 1 else None


def connect(coordinator: str | None, processes: int | None, process: int | None) -> Hosts:
    """Meet the other processes at HOST:PORT, where process 0 listens. Raises ModelError where one of the three is
    missing or impossible."""
    if coordinator is None or processes is None or process is None:
        raise ModelError(
            "--coordinator, --processes and --process stand together",
            fix="write --executor jax --coordinator HOST:PORT --processes 2 --process 0 on one machine, --process 1 on "
            "the other",
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ModelError(f"{coordinator!r} is no HOST:PORT", fix="write --coordinator 10.0.0.1:4321")
    if not 0 <= process < processes:
        raise ModelError(f"there is no process {process} of {processes}", fix=f"count them from 0 to {processes - 1}")
    engine().connect(coordinator, processes, process)
    return Hosts()
