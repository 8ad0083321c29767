"""The levels of the house: which module may import which, read from the source and not from a running program."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "chainrule"
FACADE = "__init__"

# A module imports from rows above its own, or from its own part. The facade (chainrule/__init__.py) stands on the
# whole library, and only the command line stands on the facade.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("options", "notebook"),
    ("ir",),
    ("arrays", "loops", "nn", "optim", "semantics"),
    ("forms",),
    ("derive",),
    ("verify", "render", "targets", "runtime"),
    ("compile", "derivation"),
    ("train",),
    ("sklearn", "interop", "report"),
    (FACADE,),
    ("arguments",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LEVEL = {part: level for level, row in enumerate(ROWS) for part in row}

CORE = frozenset({"numpy", "rich", "safetensors"})  # what [project.dependencies] promises
# What an extra installs: imported inside the function that needs it, or by the module that is all about it.
OPTIONAL = frozenset({
    "IPython", "keras", "matplotlib", "mpi4py", "mpmath", "onnx", "pandas", "pyarrow", "sklearn", "tensorboardX",
    "torch", "typst",
})
ABOUT = {"chainrule.sklearn": "sklearn", "chainrule.targets.jax": "jax"}
EXECUTES = frozenset({"eval", "exec", "compile", "__import__"})
UNPICKLES = frozenset({"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"})
MAX_LINES = 600


class Import(NamedTuple):
    """`module` as seen from the top (chainrule.ir.expr, numpy.linalg); `lazy` where a function's body imports it."""

    module: str
    line: int
    lazy: bool


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def modules(root: Path) -> dict[str, Path]:
    """Dotted name to file, for every module of the package at `root`; a package is named without `.__init__`."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(name: str, path: Path, known: frozenset[str]) -> list[Import]:
    """All imports that run. `from a import b` is an import of a.b where that is a module, else of a."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, node.lineno, lazy)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = module or ""
                if level:
                    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                    package = package[: len(package) - (level - 1)]
                    base = ".".join([*package, *([module] if module else [])])
                for alias in names:
                    inner = f"{base}.{alias.name}"
                    yield Import(inner if inner in known else base, node.lineno, lazy)
            case ast.If(test=test, orelse=orelse) if _is_type_checking(test):
                for child in orelse:
                    yield from walk(child, lazy)
            case _:
                inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                for child in ast.iter_child_nodes(node):
                    if not isinstance(child, ast.expr):  # an import is a statement
                        yield from walk(child, inside)

    return [*dict.fromkeys(walk(parsed(path), False))]


def part(module: str) -> str:
    """The part of the house a module of ours belongs to: chainrule.ir.expr is in `ir`."""
    return [*module.split("."), FACADE][1]


def wrong_levels(root: Path) -> Iterator[str]:
    """Each import that does not go down, and each part of the package that ROWS does not place."""
    found = modules(root)
    known = frozenset(found)
    for name, path in found.items():
        home = part(name)
        if home not in LEVEL:
            yield f"{path.name}: {home!r} has no level"
            continue
        for item in imports(name, path, known):
            if item.module.split(".")[0] != root.name:
                continue
            target = part(item.module)
            if target != home and LEVEL.get(target, len(ROWS)) >= LEVEL[home]:
                yield f"{name}:{item.line} imports {item.module}: {home} may not use {target}"


def cycles(root: Path) -> Iterator[str]:
    """A cycle among the imports that run when the modules are first imported."""
    found = modules(root)
    known = frozenset(found)
    graph = {
        name: {item.module for item in imports(name, path, known) if not item.lazy and item.module in known}
        for name, path in found.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " -> ".join(error.args[1])


def foreign_imports(root: Path) -> Iterator[str]:
    """Each import of a library that a plain `pip install chainrule` does not bring."""
    found = modules(root)
    for name, path in found.items():
        for item in imports(name, path, frozenset(found)):
            top = item.module.split(".")[0]
            allowed = CORE | OPTIONAL if item.lazy else CORE | {ABOUT.get(name)}
            if top != root.name and top not in sys.stdlib_module_names and top not in allowed:
                yield f"{name}:{item.line} imports {top}"


def unsafe(root: Path) -> Iterator[str]:
    """Each use of text as code, each module that can run what it reads, and each import hidden in a string."""
    found = modules(root)
    for name, path in found.items():
        for item in imports(name, path, frozenset(found)):
            if item.module.split(".")[0] in UNPICKLES:
                yield f"{name}:{item.line} imports {item.module}"
        for node in ast.walk(parsed(path)):
            match node:
                case ast.Name(id=word) if word in EXECUTES:
                    yield f"{name}:{node.lineno} uses {word}"
                case ast.Attribute(value=ast.Name(id="builtins"), attr=word) if word in EXECUTES:
                    yield f"{name}:{node.lineno} uses builtins.{word}"
                case ast.Attribute(attr="import_module") | ast.Name(id="import_module") if part(name) != FACADE:
                    yield f"{name}:{node.lineno} imports by name"
                case ast.keyword(arg="allow_pickle", value=value):
                    if not (isinstance(value, ast.Constant) and value.value is False):
                        yield f"{name}:{value.lineno} allows pickle"
                case _:
                    pass


def too_long(root: Path) -> Iterator[str]:
    for name, path in modules(root).items():
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > MAX_LINES:
            yield f"{name} has {lines} lines, more than {MAX_LINES}"


Check = Callable[[Path], Iterator[str]]


@pytest.mark.parametrize("check", [wrong_levels, cycles, foreign_imports, unsafe, too_long])
def test_source_keeps_the_rules_of_the_house(check: Check) -> None:
    assert len(modules(SOURCE)) > 5
    assert list(check(SOURCE)) == []


def _package(folder: Path, files: dict[str, str]) -> Path:
    root = folder / "chainrule"
    empty = dict.fromkeys(("__init__", "errors", "ir/__init__", "ir/expr"), "")
    for name, text in {**empty, "ir/print": "from chainrule.ir import expr", **files}.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


REFUSED: list[tuple[Check, str, str]] = [
    (wrong_levels, "ir/bad", "from chainrule.derive import trace"),
    (wrong_levels, "ir/bad", "import chainrule.train.model"),
    (wrong_levels, "ir/bad", "import chainrule"),
    (wrong_levels, "ir/bad", "from .. import derive"),
    (wrong_levels, "ir/bad", "from ..derive.trace import Step"),
    (wrong_levels, "arrays/bad", "from chainrule.forms import nodes"),
    (wrong_levels, "forms/bad", "from chainrule.derive import lemma"),
    (wrong_levels, "derive/bad", "from chainrule.verify import exact"),
    (wrong_levels, "derive/bad", "def f():\n    from chainrule.verify import exact"),
    (wrong_levels, "derive/bad", "import typing\nif typing.TYPE_CHECKING:\n    pass\nelse:\n    import chainrule.cli"),
    (wrong_levels, "train/bad", "from chainrule import cli"),
    (wrong_levels, "train/bad", "from chainrule import Sequential"),
    (wrong_levels, "misc/helpers", ""),
    (cycles, "ir/expr", "from chainrule.ir import print"),
    (cycles, "ir/__init__", "from chainrule.ir.bad import x\nfrom . import expr"),
    (foreign_imports, "ir/bad", "import jax.numpy as jnp"),
    (foreign_imports, "train/bad", "def run():\n    import jax"),
    (foreign_imports, "train/bad", "from sklearn.datasets import load_digits"),
    (foreign_imports, "sklearn", "import mpmath"),
    (unsafe, "ir/bad", "value = eval('1')"),
    (unsafe, "ir/bad", "run = exec"),
    (unsafe, "ir/bad", "import builtins\nbuiltins.compile('1', '', 'eval')"),
    (unsafe, "ir/bad", "from importlib import import_module\nimport_module('chainrule.cli')"),
    (unsafe, "train/bad", "def load(path):\n    import pickle"),
    (unsafe, "train/bad", "import numpy\nnumpy.load('x', allow_pickle=True)"),
    (too_long, "ir/bad", "x = 1\n" * (MAX_LINES + 1)),
]


@pytest.mark.parametrize(("check", "name", "text"), REFUSED)
def test_a_breach_is_refused(check: Check, name: str, text: str, tmp_path: Path) -> None:
    extra = {"ir/bad": "from chainrule.ir import y"} if name == "ir/__init__" else {}
    root = _package(tmp_path, {name: text, **extra})
    assert len(list(check(root))) == 1


ACCEPTED = [
    ("ir/good", "from chainrule.errors import EquationError\nfrom chainrule.ir import expr, print\nimport re, numpy"),
    ("ir/expr", "def show():\n    from chainrule.ir.print import to_text"),
    ("ir/good", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from chainrule.derive import trace"),
    ("derive/good", "from ..ir.expr import Add\nfrom . import trace\npattern = re.compile('x')\nmodel.eval()"),
    ("train/data", "def digits():\n    from sklearn.datasets import load_digits"),
    ("cli", "import chainrule as cr\nfrom chainrule.train import model\nimport rich.table"),
    ("__init__", "import importlib\n\ndef __getattr__(name):\n    return importlib.import_module('chainrule.train')"),
]


@pytest.mark.parametrize(("name", "text"), ACCEPTED)
def test_a_sound_import_is_accepted(name: str, text: str, tmp_path: Path) -> None:
    root = _package(tmp_path, {name: text})
    assert [fault for check in (wrong_levels, cycles, foreign_imports, unsafe) for fault in check(root)] == []
