"""Where training stands: all that its next step depends on beside the parameters, the layers' states and the rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ModelError
from chainrule.optim.named import Unknown, optimizer_named, saved_optimizer
from chainrule.optim.optimizer import Optimizer
from chainrule.runtime.compiler import native
from chainrule.train.history import History

Array = NDArray[Any]
WHOLE = 1 << 26  # bytes of an array up to which all of it is looked at
ROWS = 4096  # of a larger one, so many rows, evenly spread


@dataclass
class Training:
    """`kept` is what the optimizer keeps, by name; `steps` and `epochs` are done, of the epoch that is begun `done`
    steps, whose outputs are `seen`; `rows` is the digest of what that epoch goes over. The call of `fit` that came
    last ends, or was to end, with epoch `goal`; `history` is that call's. The rate is `factor` times the optimizer's.
    `memory` is what each callback remembers, by its name. `last` are the parameters and states to go on from where the
    model was given others, the best, whose digest is `shown`. `lanes` are the numbers in a vector of the machine's."""

    optimizer: Optimizer
    seed: int = 0
    kept: dict[str, Array] = field(default_factory=dict[str, Array])
    steps: int = 0
    epochs: int = 0
    done: int = 0
    seen: list[Array] = field(default_factory=list[Array])
    rows: str = ""
    goal: int = 0
    factor: float = 1.0
    lanes: int = field(default_factory=lambda: native().lanes)
    history: History = field(default_factory=History)
    last: dict[str, Array] = field(default_factory=dict[str, Array])
    shown: str = ""
    memory: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    _stream: tuple[int, np.random.PCG64, Any, np.random.Generator] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<Training: {self.epochs} epochs in {self.steps:,} steps by {self.optimizer}>"

    @property
    def unfinished(self) -> bool:
        """Whether the last call of `fit` ended before its last epoch, and no callback ended it."""
        return self.epochs < self.goal and not self.history.stopped

    def rng(self) -> np.random.Generator:
        """What the order of this epoch is drawn from: it depends on the seed and the number of the epoch alone. Epochs
        are 2^64 words apart; to make a generator for each would take longer than to draw from it."""
        if self._stream is None or self._stream[0] != self.seed:
            bits = np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(0,)))
            self._stream = self.seed, bits, bits.state, np.random.Generator(bits)
        _, bits, start, generator = self._stream
        bits.state = start
        bits.advance(self.epochs << 64)
        return generator

    def forget_epoch(self) -> None:
        """Let the epoch that is begun begin anew."""
        self.done, self.seen, self.rows = 0, [], ""


def begun(state: Training | None, optimizer: Optimizer | str | None, seed: int | None, restart: bool) -> Training:
    """Where training goes on: where it stands, unless there is nothing yet, or it is to begin anew. Raises ModelError
    where the optimizer is of somebody's own and is not given."""
    rule = None if optimizer is None else optimizer_named(optimizer)
    if state is None or restart:
        return Training(rule or optimizer_named(None), seeded(seed or 0))
    seed = seeded(state.seed if seed is None else seed)
    if rule is not None and saved_optimizer(rule) != saved_optimizer(state.optimizer):
        warnings.warn(
            f"the optimizer is another one, and begins anew: {rule} after {state.optimizer}", RuntimeWarning, 4
        )
        return Training(rule, seed)
    here = native().lanes
    if state.steps and state.lanes != here:
        warnings.warn(
            f"training went on so far with vectors of {state.lanes} numbers, and this machine's hold {here}: the bits "
            "are not those of one run", RuntimeWarning, 4,
        )
    state.optimizer, state.seed, state.lanes = rule or state.optimizer, seed, here
    if isinstance(state.optimizer, Unknown):
        raise ModelError(f"the model was trained with {state.optimizer}", fix="give that optimizer to fit")
    return state


def seeded(value: int) -> int:
    """A seed. Raises ModelError for what is none."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not whole or value < 0:
        raise ModelError(f"seed must be a whole number that is not negative, not {value!r}", fix="write seed=0")
    return int(value)


def digest(text: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Of a text and of arrays, all of them."""
    found = blake2b(text.encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def fingerprint(arrays: Mapping[str, Array], *more: object) -> str:
    """A digest of rows: of all bytes of a small array, of some rows of a large one."""
    found = blake2b(repr(more).encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        part = array if array.nbytes <= WHOLE else array[np.linspace(0, len(array) - 1, ROWS).astype(np.int64)]
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()


def joined(one: Sequence[Array], other: Sequence[Array], count: int) -> list[Array]:
    """The outputs of the steps seen so far, and of `count` more."""
    more = [array[:count] for array in other]
    return [np.concatenate(pair) for pair in zip(one, more, strict=True)] if one else more
