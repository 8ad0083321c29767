"""What a training run saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class History:
    """What `fit` saw, one entry for each epoch. `interrupted`: Ctrl-C ended the run, and the progress was kept."""

    loss: list[float] = field(default_factory=list[float])
    accuracy: list[float] = field(default_factory=list[float])
    val_loss: list[float] = field(default_factory=list[float])
    val_accuracy: list[float] = field(default_factory=list[float])
    interrupted: bool = False

    def add(self, metrics: Mapping[str, float]) -> None:
        longer = {name: [*getattr(self, name), value] for name, value in metrics.items()}
        self.__dict__.update(longer)  # one call, so that all grow or, where Ctrl-C comes, none does
