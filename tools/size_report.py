"""Print the size of the project, folder by folder: files, lines, and lines of code.

A line of code holds at least one token that is neither a comment nor a docstring.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import defaultdict
from pathlib import Path

FOLDERS = ("src", "tests", "bench", "tools")
NO_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)


def code_lines(source: str) -> int:
    """The number of lines that hold code."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def report(root: Path) -> str:
    """A table of the folders that hold Python, with a total for each of FOLDERS."""
    folders: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for top in FOLDERS:
        for path in sorted((root / top).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            folders[path.parent.relative_to(root).as_posix()].append((source.count("\n"), code_lines(source)))
    rows = [(f"{'folder':<32}", "files", "lines", "code")]
    for top in FOLDERS:
        sizes: list[tuple[int, int]] = []
        for folder in sorted(name for name in folders if name.split("/")[0] == top):
            sizes += folders[folder]
            rows.append(_row(folder, folders[folder]))
        if sizes:
            rows.append(_row(f"= {top}, all", sizes))
    return "\n".join(f"{name} {files:>6} {lines:>7} {code:>7}" for name, files, lines, code in rows)


def _row(name: str, sizes: list[tuple[int, int]]) -> tuple[str, str, str, str]:
    lines, code = (sum(size[part] for size in sizes) for part in (0, 1))
    return f"{name:<32}", str(len(sizes)), str(lines), str(code)


if __name__ == "__main__":
    print(report(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]))
