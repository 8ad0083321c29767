"""What takes part in a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

from bench.workloads import Data, Workload


class Contender(Protocol):
    """Trains one workload on its data, batch by batch in a given order, from its initial values."""

    @property
    def name(self) -> str: ...

    def reset(self) -> None:
        """Take the initial values; not timed."""
        ...

    def train(self, epochs: int) -> None:
        """Pass over the data so often. Everything is done when it returns."""
        ...

    def losses(self, data: Data) -> Sequence[float]:
        """Reset, and the loss of each step over the batches of these data."""
        ...


class UnavailableError(Exception):
    """Why a contender does not take part: a library that is missing, a network that it cannot express."""


def library(name: str) -> Any:
    """An optional library. It is not imported by a statement, so that all is well formed where it is not installed.

    Raises UnavailableError.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UnavailableError(f"{name.partition('.')[0]} is not installed") from error


# Name on the command line: the file, the class, and whether --quick runs it.
CONTENDERS = {
    "chainrule": ("ours", "Chainrule", True),
    "eager": ("pytorch", "PyTorch", True),
    "channels-last": ("pytorch", "ChannelsLast", True),
    "compiled": ("pytorch", "Compiled", False),
    "jit": ("xla", "JaxSteps", False),
    "scan": ("xla", "JaxScan", True),
    "sklearn": ("scikit", "ScikitLearn", False),
    "numpy": ("by_hand", "NumPy", True),
}


def made(key: str, workload: Workload, data: Data, threads: int) -> Contender:
    """Raises UnavailableError."""
    module, name, _ = CONTENDERS[key]
    return getattr(import_module(f"bench.{module}"), name)(workload, data, threads)
