"""philox.h against what the NumPy executor draws."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
from tests.runtime.kernels import EXPORT, HERE, Array, pointer

import chainrule as cr
from chainrule.compile import gradients
from chainrule.runtime.build import build
from chainrule.runtime.headers import header
from chainrule.train.runners import drawn as by_numpy

SOURCE = f"""
{EXPORT} void mask_(real *to, long start, long count, word seed, word tensor, word step, double probability) {{
  draw_mask(to, start, count, seed, tensor, step, probability);
}}
{EXPORT} void uniform(real *to, long start, long count, word seed, word tensor, word step) {{
  draw_uniform(to, start, count, seed, tensor, step);
}}
"""


@cache
def library() -> ctypes.CDLL:
    return ctypes.CDLL(str(build(header(["philox"]) + SOURCE, target=HERE)))


def drawn(start: int, count: int, seed: int, tensor: int, step: int, probability: float | None) -> Array:
    result = np.full(count + 1, 9, np.float32)
    words = [ctypes.c_uint64(value) for value in (seed, tensor, step)]
    where = (pointer(result), ctypes.c_long(start), ctypes.c_long(count), *words)
    if probability is None:
        library().uniform(*where)
    else:
        library().mask_(*where, ctypes.c_double(probability))
    assert result[-1] == 9
    return result[:-1]


@pytest.mark.parametrize("seed", [0, 3, 2**64 + 5, 2**63 + 1])
def test_masks_are_those_of_the_model(seed: int) -> None:
    layers = (cr.Dropout(0.3), cr.Dense(5), cr.Dropout(0.5), cr.Dense(2), cr.Dropout(0.99))
    model = cr.Sequential(cr.Input(7), *layers, loss="mean_squared_error")
    task = gradients(model.network, model._derivation)
    assert len(task.drawn) == 3
    for step in (0, 1, 12345):
        wanted = by_numpy(task, seed, step, 3, np.dtype(np.float32))
        for tensor, (number, probability) in task.drawn.items():
            assert probability is not None
            values = wanted[tensor]
            result = drawn(0, values.size, seed % 2**64, number, step, probability)
            assert np.array_equal(result, values.ravel())
            assert not np.array_equal(result, drawn(0, values.size, seed % 2**64, number, step + 1, 1 - probability))


@pytest.mark.parametrize("probability", [None, 0.0, 0.25, 1 / 3, 1 - 2**-53, 1.0])
def test_any_part_is_that_part_of_the_whole(probability: float | None) -> None:
    bits = np.random.Philox(key=np.array([5, 2], np.uint64), counter=np.array([0, 0, 9, 0], np.uint64))
    words = bits.random_raw(1003)
    whole = (words >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    if probability is not None:
        whole = ((words >> np.uint64(11)) * 2.0**-53 < probability).astype(np.float32)
    for start, count in ((0, 1003), (1, 1), (2, 3), (4, 4), (3, 997), (1002, 1), (7, 0)):
        assert np.array_equal(drawn(start, count, 5, 2, 9, probability), whole[start : start + count])


def test_products_of_words_without_a_wide_type() -> None:
    """What machines of 32 bits use gives the same bits."""
    source = (header(["philox"]) + SOURCE).replace("__SIZEOF_INT128__", "NO_SUCH_MACRO")
    narrow = ctypes.CDLL(str(build(source, target=HERE)))
    result = np.empty(999, np.float32)
    words = [ctypes.c_uint64(value) for value in (2**64 - 1, 1, 77)]
    narrow.uniform(pointer(result), ctypes.c_long(0), ctypes.c_long(999), *words)
    assert np.array_equal(result, drawn(0, 999, 2**64 - 1, 1, 77, None))
