"""The words of a document: sentences with places for formulas, by language and key."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Any

from chainrule.errors import DerivationError

LANGUAGES = ("en", "zh")


@cache
def sentences(language: str) -> dict[str, str]:
    """Every sentence of a language by its key, "section.name". Raises DerivationError for an unknown language."""
    if language not in LANGUAGES:
        raise DerivationError(f"there is no text in the language {language!r}", fix="one of " + ", ".join(LANGUAGES))
    text = files(__name__).joinpath(f"{language}.toml").read_text(encoding="utf-8")
    sections: dict[str, dict[str, Any]] = tomllib.loads(text)
    return {f"{section}.{name}": text for section, entries in sections.items() for name, text in entries.items()}


def pieces(sentence: str) -> list[tuple[str, str | None]]:
    """The sentence as (text, name of the place that follows it) pairs."""
    return [(text, name) for text, name, _, _ in Formatter().parse(sentence)]
