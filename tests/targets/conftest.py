"""What these tests compile is kept for the run, away from the user's cache."""

from __future__ import annotations

from tests.runtime.conftest import cache

__all__ = ["cache"]
