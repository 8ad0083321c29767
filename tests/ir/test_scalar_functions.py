"""erfc and expm1 against 40-digit arithmetic, from the smallest numbers to both ends."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from chainrule.ir.functions import FUNCTIONS

TRUE = {"erfc": mpmath.erfc, "erf": mpmath.erf, "expm1": mpmath.expm1}


@pytest.mark.parametrize("name", TRUE)
def test_the_relative_error_is_that_of_a_few_roundings(name: str) -> None:
    rng = np.random.default_rng(0)
    edges = [0.46875, np.nextafter(0.46875, 1), 3.99, 4, 4.01, 5.5, 5.8, 5.9, 6, 6.1, 26]
    x = np.concatenate([np.linspace(0.001, 7, 1500), 10.0 ** rng.uniform(-290, 1, 500), edges])
    x = np.concatenate([x, -x])
    with mpmath.workdps(40):
        true = np.array([float(TRUE[name](mpmath.mpf(float(v)))) for v in x])
    assert float(np.max(np.abs(FUNCTIONS[name](x) - true) / np.abs(true))) <= 1e-15
    small = x.astype(np.float32)[np.abs(x) > 1e-30]
    with mpmath.workdps(40):
        true = np.array([float(TRUE[name](mpmath.mpf(float(v)))) for v in small])
    held = np.abs(true) > 1.2e-38  # float32 rounds what is smaller to fewer digits
    small, true = small[held], true[held]
    found = FUNCTIONS[name](small)
    assert found.dtype == np.float32
    assert float(np.max(np.abs(found - true) / np.abs(true))) <= 1e-6


def test_a_wrong_coefficient_would_be_seen() -> None:
    x = np.linspace(0.001, 7, 1500)
    wrong = FUNCTIONS["erfc"](x) * (1 + 1e-14)
    with mpmath.workdps(40):
        true = np.array([float(mpmath.erfc(mpmath.mpf(float(v)))) for v in x])
    assert float(np.max(np.abs(wrong - true) / true)) > 1e-15


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erfc_at_both_ends_and_at_0(dtype: type) -> None:
    x = np.array([-np.inf, -1000, -0.0, 0, 1000, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(FUNCTIONS["erfc"](x), np.array([2, 2, 1, 1, 0, 0, np.nan], dtype))


def test_expm1_at_minus_1000_is_minus_1() -> None:
    assert FUNCTIONS["expm1"](np.array(-1000.0)) == -1
