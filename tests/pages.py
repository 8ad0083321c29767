"""Pages whose blocks run: Markdown with code, and below it what it prints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from runpy import run_path
from typing import Any

import chainrule as cr
from chainrule.cli import main

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run(page: str, folder: Path) -> Iterator[tuple[str, str]]:
    """(what the page shows, what is printed), for each output that it shows. `python` blocks share their names, a
    `text` below one is its output, `console` has commands behind "$ " and their output, `toml` is a file named by its
    first line, and `derivation` equations."""
    names: dict[str, Any] = {}
    printed = ""
    for kind, text in BLOCK.findall(page):
        match kind:
            case "python":
                (folder / "block.py").write_text(text, encoding="utf-8")
                with redirect_stdout(StringIO()) as said:
                    names |= run_path(str(folder / "block.py"), names)
                printed = said.getvalue()
            case "text":
                yield text, printed
            case "console":
                for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                    program, *words = shlex.split(command)
                    assert program == "chainrule"
                    with redirect_stdout(StringIO()) as said:
                        status = main(words)
                    assert status == 0, command
                    if shown:
                        yield shown, said.getvalue()
            case "toml":
                (folder / text.split("\n", 1)[0].removeprefix("# ")).write_text(text, encoding="utf-8")
            case "derivation":
                assert cr.derive(text).gradients
            case _:
                raise AssertionError(f"no block of the guide is of the kind {kind!r}")


def differing(page: str, folder: Path) -> list[tuple[str, str]]:
    """The outputs that are not as shown. In what is shown "…" stands for anything."""

    def lines(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip().split("\n"))

    pairs = [(lines(shown), lines(printed)) for shown, printed in run(page, folder)]
    anything = re.escape("…")
    return [(s, p) for s, p in pairs if not re.fullmatch(re.escape(s).replace(anything, ".*"), p, re.DOTALL)]
