"""The keys of csrc/field.h: what makes its functions those of the field executor at one seed."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import floor

import numpy as np

from chainrule.errors import BuildError
from chainrule.ir.functions import CATALOGUE
from chainrule.runtime.headers import NATIVE
from chainrule.semantics.prime import Words, key

# In the order of the enumeration in field.h, which is that of the catalogue.
_FUNCTIONS = tuple(name for name in NATIVE if not CATALOGUE[name].composed)
_NAMES = (
    ("rank",), ("position",), ("entry",), ("logsumexp",), *(("function", function, 0) for function in _FUNCTIONS),
    ("real", "pi"), ("real", "e"),
)
_ROWS = 64


def field_keys(seed: int, exponents: Iterable[Fraction] = ()) -> Words:
    """(rows, 4) words for `chainrule_set_keys`; `exponents` are those of the program's powers, of which each fraction
    that is left of a whole number has a key. Raises BuildError for more fractions than there are rows."""
    rests = sorted({exponent - floor(exponent) for exponent in exponents} - {Fraction(0)})
    if len(_NAMES) + len(rests) > _ROWS:
        raise BuildError(f"{len(rests)} different fractions in exponents", fix=f"use {_ROWS - len(_NAMES)} at most")
    rows = [(Fraction(0), key(seed, *name)) for name in _NAMES]
    rows += [(rest, key(seed, "function", ("power", rest), 0)) for rest in rests]
    words = [(rest.numerator, rest.denominator, bits & (2**64 - 1), bits >> 64) for rest, bits in rows]
    return np.array(words, np.uint64)
