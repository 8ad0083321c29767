"""What a training run saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class History:
    """What `fit` saw: the metrics of each epoch, `history["val_loss"]` in a row or `history.epochs` together.

    `interrupted`: Ctrl-C ended the run, and the progress was kept. `stopped` says which callback ended it, if one did.
    """

    epochs: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    interrupted: bool = False
    stopped: str = ""

    def __getitem__(self, name: str) -> list[float]:
        """A metric's values, of the epochs that have it."""
        return [metrics[name] for metrics in self.epochs if name in metrics]

    @property
    def loss(self) -> list[float]:
        return self["loss"]

    @property
    def accuracy(self) -> list[float]:
        return self["accuracy"]

    @property
    def val_loss(self) -> list[float]:
        return self["val_loss"]

    @property
    def val_accuracy(self) -> list[float]:
        return self["val_accuracy"]

    def add(self, metrics: Mapping[str, float]) -> None:
        self.epochs.append(dict(metrics))
