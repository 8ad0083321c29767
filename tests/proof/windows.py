"""Reductions over windows of three indices."""

from __future__ import annotations

from tests.derive.cases import Case

WINDOWS = {
    case.name: case
    for case in (
        Case("maximum", "y[n, i<2] = max[p<2, q<2, r<3](x[n, i + p, q, r])", {"x": ("N", 3, 2, 3)}),
        Case("position", "y[n, i<2] = argmax[p<2, q<2, r<3](w[p, q, r])*x[n, i]", {"x": ("N", 2), "w": (2, 2, 3)}),
        Case("logsumexp", "y[n] = logsumexp[p<2, q<3, r<2](x[n, p, q, r]*w[p])", {"x": ("N", 2, 3, 2), "w": (2,)}),
    )
}
