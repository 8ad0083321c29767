"""The parameters of a model as a mapping from names to arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.errors import DataError, ModelError, ShapeError


class Parameters(Mapping[str, NDArray[Any]]):
    """Name -> array, in the order of the layers. `parameters["dense1.W"] = w` assigns the values of an array of the
    same shape; the arrays themselves cannot be written to."""

    def __init__(self, values: dict[str, NDArray[Any]]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> NDArray[Any]:
        self._known(name)
        view = self._values[name].view()
        view.flags.writeable = False
        return view

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        self._known(name)
        old, new = self._values[name], np.asarray(value)
        if new.dtype.kind not in "biuf":
            raise DataError(f"{name} takes numbers, not {new.dtype}", about=name)
        if new.shape != old.shape:
            transposed = new.shape == old.shape[::-1]
            raise ShapeError(
                f"{name} has the shape {old.shape}, but the array has {new.shape}",
                about=name,
                fix="transpose it: a weight is (outputs, inputs)"
                if transposed
                else f"give an array of shape {old.shape}",
            )
        if not np.isfinite(new).all():
            place = np.argwhere(~np.isfinite(new))[0].tolist()
            raise DataError(f"the array holds {new[tuple(place)]}, which is not finite, at {place}", about=name)
        self._values[name] = new.astype(old.dtype)

    def _known(self, name: str) -> None:
        if name not in self._values:
            near = get_close_matches(name, self._values, 1, 0.4)
            raise ModelError(
                f"there is no parameter {name!r}",
                fix=f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self._values) or 'none'}",
            )

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return "\n".join(f"{name}  {value.shape}  {value.dtype}" for name, value in self._values.items())
