"""How training is doing inside: norms by layer after each epoch, and the same for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from chainrule.errors import ModelError
from chainrule.train.callbacks import Callback

if TYPE_CHECKING:
    from chainrule.train.model import Model


class Watch(Callback):
    """Looks at some samples after each epoch; `print` it, or read `rows`, a dictionary for each epoch:

    "gradient dense1.W"    norm of the loss's gradient by a parameter
    "update dense1.W"      norm of the epoch's change over that of the parameter: about 1e-3 for each step is healthy
    "activation relu1"     root of the mean square of what a layer gives
    "dead relu1"           share of a ReLU's outputs that are 0 for every sample: they learn nothing any more
    """

    def __init__(self, x: Any, y: ArrayLike) -> None:
        super().__init__()
        self.x, self.y = x, y
        self.rows: list[dict[str, float]] = []
        self._before: dict[str, Any] = {}

    def begin(self, model: Model) -> None:
        self._before = {name: np.array(array) for name, array in model.parameters.items()}

    def on_epoch(self, model: Model, metrics: Mapping[str, float]) -> bool | None:
        _, gradients = model.gradients(self.x, self.y, seed=model.training.seed)
        row: dict[str, float] = {}
        for name, array in model.parameters.items():
            size = float(np.linalg.norm(array))
            row[f"gradient {name}"] = float(np.linalg.norm(gradients[name]))
            row[f"update {name}"] = float(np.linalg.norm(array - self._before[name])) / max(size, 1e-30)
        for label, layer in model.network.layers:
            output = model.activations(self.x, label, executor="numpy").astype(np.float64)
            row[f"activation {label}"] = float(np.sqrt(np.square(output).mean()))
            if type(layer).__name__ == "ReLU":
                row[f"dead {label}"] = float((output == 0).all(axis=0).mean())
        self.rows.append(row)
        self.begin(model)

    def __str__(self) -> str:
        if not self.rows:
            return "nothing was watched yet"
        last = self.rows[-1]
        width = max(map(len, last))
        return "\n".join(f"{name:<{width}}  {value:.3g}" for name, value in last.items())

    def __repr__(self) -> str:
        return f"Watch: {len(self.rows)} epochs"


class TensorBoard(Callback):
    """Writes each epoch's metrics for TensorBoard, and what a `Watch` sees, if one is given. Needs tensorboardX.

    Raises ModelError where that is not installed.
    """

    writes = True

    def __init__(self, folder: str | PathLike[str], watch: Watch | None = None) -> None:
        super().__init__()
        try:
            from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
        except ImportError:
            raise ModelError("TensorBoard needs tensorboardX", fix='pip install "chainrule[tensorboard]"') from None
        self.writer: Any = cast(Any, SummaryWriter)(fspath(folder))
        self.watch = watch

    def on_epoch(self, model: Model, metrics: Mapping[str, float]) -> bool | None:
        seen = {} if self.watch is None or not self.watch.rows else self.watch.rows[-1]
        for name, value in {**metrics, **{name.replace(" ", "/", 1): v for name, v in seen.items()}}.items():
            self.writer.add_scalar(name, value, model.training.epochs)
        self.writer.flush()
