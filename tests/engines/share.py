"""What mpirun starts for tests/engines/test_mpi.py: a process that trains with the others, and writes what it saw."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr


def model(kind: str, dtype: str = "float32") -> cr.Model:
    """One with masks, a penalty and a window; one with a table; two whose samples couple, the second by more than sums;
    one that takes its time."""
    if kind == "table":
        x = cr.Input(3, dtype="integer")
        return cr.Model(x, cr.Dense(3)(cr.Embedding(5, 4)(x)), loss="softmax_cross_entropy", dtype=dtype)
    layers: dict[str, list[cr.Layer]] = {
        "masks": [cr.Conv2d(4, 3, padding=1), cr.ReLU(), cr.MaxPool2d(2), cr.Dropout(0.2)],
        "statistics": [cr.Conv2d(4, 3), cr.BatchNorm(), cr.ReLU(), cr.Conv2d(3, 2), cr.BatchNorm(), cr.Dropout(0.1)],
        "greatest": [],
        "long": [cr.Flatten(), cr.Dense(300), cr.Tanh(), cr.Dropout(0.1)],
    }
    loss = "loss = max[n](sum[k]((u[n, k] - t[n, k])**2))" if kind == "greatest" else "softmax_cross_entropy"
    return cr.Sequential(cr.Input(2, 6, 6), *layers[kind], cr.Dense(3), loss=loss, l2=0.01, dtype=dtype)


def data(kind: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (61, 3)) if kind == "table" else rng.normal(size=(61, 2, 6, 6)).astype(np.float32)
    y = rng.integers(0, 3, 61)
    return x, np.eye(3)[y] if kind == "greatest" else y


def fit(made: cr.Model, kind: str, **options: Any) -> cr.History:
    """50 steps in batches that few numbers of processes divide, the last of an epoch one sample alone."""
    given: dict[str, Any] = {"epochs": 10, "batch_size": 12, "optimizer": cr.Adam(0.01, clip_norm=1.0)}
    given |= {"validation_split": 0.2, "verbose": False, **options}
    return made.fit(*data(kind), **given)


class Counted:
    """A communicator that counts the sums of real numbers, of which steps are made."""

    def __init__(self, communicator: Any) -> None:
        self.communicator, self.meetings = communicator, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.communicator, name)

    def Allreduce(self, place: Any, numbers: Any, operation: Any) -> None:
        self.meetings += numbers.dtype.kind == "f"
        self.communicator.Allreduce(place, numbers, operation)


def main() -> None:
    world = Counted(cr.world())
    out, kinds, options = Path(sys.argv[1]), sys.argv[2].split(","), json.loads(sys.argv[3])
    (out / f"pid{world.rank}").write_text(str(os.getpid()))
    saved = out / "model.safetensors"
    for kind in kinds:
        world.meetings = 0
        made = cr.load(saved) if options.get("resume") else model(kind, options.get("dtype", "float32"))
        given = {k: v for k, v in options.items() if k not in ("dtype", "save", "fail")}
        callbacks: list[Any] = [cr.Checkpoint(saved, every=7)] if options.get("save") else []
        if options.get("fail") == world.rank:
            callbacks.append(lambda model, metrics: (out / "absent" / "file").touch())
        history = fit(made, kind, communicator=world, callbacks=callbacks, **given)
        digest = float(sum(np.abs(a).sum() for a in made.parameters.values()))
        seen = {"losses": history.loss, "held": history.val_loss, "steps": made.training.steps, "digest": digest}
        seen |= {"meetings": world.meetings}
        if not world.rank and not options.get("save"):
            made.save(out / f"{kind}.safetensors")
        (out / f"{kind}{world.rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
