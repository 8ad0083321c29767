"""Write what chainrule derives itself into docs/: `python tools/documents.py`, after a change of what is printed.

A test compares them with what is derived now.
"""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
MODELS = {"neuron.zh.md": "neuron", "backpropagation.zh.md": "seed"}
"""The article that the project was made from: one neuron, and a network with pooling, ReLU and sigmoids."""


def derived() -> dict[str, str]:
    """Each file's text."""
    import chainrule as cr

    return {file: cr.read_model(name).derive().to_markdown(lang="zh") for file, name in MODELS.items()}


if __name__ == "__main__":
    for name, text in derived().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}")
