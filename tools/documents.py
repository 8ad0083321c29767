"""Write what chainrule derives itself into docs/: `python tools/documents.py`, after a change of what is printed.

A test compares them with what is derived now.
"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
MODELS = {"neuron.zh.md": "neuron", "backpropagation.zh.md": "seed"}
"""The article that the project was made from: one neuron, and a network with pooling, ReLU and sigmoids."""


def derived(file: str) -> str:
    """A file's text."""
    from tools.identities import page

    import chainrule as cr

    return cr.read_model(MODELS[file]).derive().to_markdown(lang="zh") if file in MODELS else page()


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    for name in (*MODELS, "identities.md"):
        (DOCS / name).write_text(derived(name), encoding="utf-8")
        print(f"docs/{name}")
