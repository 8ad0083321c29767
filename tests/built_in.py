"""Derivations and documents of built-in models, each made once in a process, for all tests of documents."""

from __future__ import annotations

from functools import cache
from typing import Literal

import chainrule as cr
from chainrule.derivation import Derivation
from chainrule.render.build import build
from chainrule.render.document import Document

Language = Literal["en", "zh"]


@cache
def derived(name: str) -> Derivation:
    return cr.read_model(name).derive()


@cache
def document(name: str, lang: Language, detail: str = "standard") -> Document:
    return build(derived(name), lang, detail)
