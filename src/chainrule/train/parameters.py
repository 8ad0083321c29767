"""The parameters of a model as a mapping from names to arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.errors import DataError, ModelError, ShapeError
from chainrule.runtime.aligned import aligned

LINES = 10  # of what a prompt shows


class Parameters(Mapping[str, NDArray[Any]]):
    """Name -> array, in the order of the layers. `parameters["dense1.W"] = w` assigns the values of an array of the
    same shape; the arrays themselves cannot be written to."""

    def __init__(self, values: dict[str, NDArray[Any]], changed: Callable[[], None]) -> None:
        self._values, self._changed = values, changed

    def __getitem__(self, name: str) -> NDArray[Any]:
        self._known(name)
        view = self._values[name].view()
        view.flags.writeable = False
        return view

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        self._known(name)
        old = self._values[name]
        self._values[name] = checked(name, value, old.shape, old.dtype)
        self._changed()

    def _known(self, name: str) -> None:
        if name not in self._values:
            raise ModelError(f"there is no parameter {name!r}", fix=self._nearest(name))

    def _nearest(self, name: str) -> str:
        # Names differ in what they say, not in case: dense1.w means dense1.W, however near dense1.b is.
        same = [known for known in self._values if known.lower() == str(name).lower()]
        near = same or get_close_matches(str(name), self._values, 1, 0.4)
        return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self._values) or 'none'}"

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return listed({name: f"{value.shape}  {value.dtype}" for name, value in self._values.items()}) or "<none>"


class Gradients(dict[str, NDArray[Any]]):
    """Name -> gradient. Shown, it is the norm of each: how much of the error reaches which layer."""

    @property
    def norms(self) -> dict[str, float]:
        return {name: float(np.linalg.norm(np.asarray(array, np.float64))) for name, array in self.items()}

    def __repr__(self) -> str:
        return listed({name: f"{self[name].shape}  norm {norm:.3g}" for name, norm in self.norms.items()}) or "<none>"

    def drawn(self, header: tuple[str, str, str]) -> str:
        """A bar for each, by the powers of ten of its norm."""
        from chainrule.render.charts import bars, by_powers

        norms = self.norms
        shares = by_powers([*norms.values()])
        return bars([(name, f"{norm:.3g}", s) for (name, norm), s in zip(norms.items(), shares, strict=True)], header)

    def _repr_html_(self) -> str:
        from chainrule.render.document import Drawn
        from chainrule.render.html import cell

        return cell(Drawn(self.drawn(("gradient of", "norm", "by powers of ten"))))


def listed(said: Mapping[str, str]) -> str:
    """A line for each, ten at most."""
    width = max(map(len, said), default=0)
    lines = [f"{name:<{width}}  {text}" for name, text in said.items()]
    return "\n".join(lines if len(lines) <= LINES else [*lines[: LINES - 1], f"… {len(lines) - LINES + 1} more"])


def checked(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A copy of the values that a parameter is to take. Raises ShapeError with both shapes, DataError where they
    are no numbers or not finite as `dtype`."""
    new = np.asarray(value)
    if new.dtype.kind not in "biuf":
        raise DataError(f"{name} takes numbers, not {new.dtype}", about=name)
    if new.shape != shape:
        raise ShapeError(
            f"{name} has the shape {shape}, but the array has {new.shape}",
            about=name,
            fix="transpose it: a weight is (outputs, inputs)"
            if new.shape == shape[::-1]
            else f"give an array of shape {shape}",
        )
    with np.errstate(over="ignore"):
        made = aligned(new, dtype)
    if not np.isfinite(made).all():
        place = np.argwhere(~np.isfinite(made))[0].tolist()
        raise DataError(
            f"the array holds {new[tuple(place)]}, which is not finite as {dtype}, at {place}",
            about=name,
            fix=f"give finite numbers of at most {np.finfo(dtype).max:.1e}",
        )
    return made
