"""What stands here needs PyTorch or ONNX, and is collected where they are installed: `make doors` sees to it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # before anything imports Keras
collect_ignore = [] if find_spec("torch") else [path.name for path in Path(__file__).parent.glob("*.py")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.doors)
