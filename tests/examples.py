"""What `make test` runs a part of, and `make campaign` the whole: drawn examples, and long lists of parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
from hypothesis import settings

CAMPAIGN = settings.default.max_examples > 1000  # pyright: ignore[reportOptionalMemberAccess]


def examples(few: int, many: int) -> Callable[[Any], Any]:
    """A test that `make test` runs with few examples and `make campaign` with many."""

    def drawn(test: Any) -> Any:
        return pytest.mark.drawn(settings(max_examples=many if CAMPAIGN else few)(test))

    return drawn


def few(values: Iterable[Any], kept: int | Collection[Any]) -> list[Any]:
    """Values of a parameter, or tuples for several, of which `make test` takes those in `kept`, or each so many'th from
    the first on."""

    def marks(n: int, value: Any) -> list[pytest.MarkDecorator]:
        taken = n % kept == 0 if isinstance(kept, int) else value in kept
        return [] if taken else [pytest.mark.campaign]

    every = enumerate(values)
    return [pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=marks(n, v)) for n, v in every]
