"""The public list: one file, for type checkers and for the package itself."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path

import chainrule as cr
from chainrule.nn.layers import LAYERS

STUB = Path(cr.__file__).with_suffix(".pyi")


def test_every_listed_name_is_what_its_module_has() -> None:
    listed = {
        alias.name: getattr(import_module(line.module or ""), alias.name)
        for line in ast.parse(STUB.read_text()).body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
        if alias.name != "*"
    }
    assert {name: value for name, value in (listed | LAYERS).items() if getattr(cr, name) is not value} == {}
    assert sorted(cr.__all__) == sorted(listed | LAYERS)


def test_every_layer_is_a_layer() -> None:
    assert [name for name, kind in LAYERS.items() if not (inspect.isclass(kind) and kind.__name__ == name)] == []
