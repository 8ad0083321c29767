"""The plot of the training workloads: each contender's samples/s beside PyTorch eager's, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.compare import Comparison
from bench.workloads import WORKLOADS

COLOURS = {
    "chainrule": "#d1495b",
    "JAX scan": "#30638e",
    "JAX jit": "#7ba7cc",
    "NumPy by hand": "#6b705c",
    "scikit-learn": "#edae49",
    "PyTorch channels-last": "#3d8361",
    "PyTorch compiled": "#8fc0a9",
    "PyTorch eager": "#222222",
}
LEFT, RIGHT, TOP, ROW, WIDTH = 190, 40, 64, 44, 860
BASE = "PyTorch eager"


def svg(results: Sequence[Comparison]) -> str:
    """One workload a row, to the right what is faster; a logarithmic scale of ratios to PyTorch eager."""
    rows = [result for result in results if BASE in result.rates]
    ratios = [{name: result.median(name) / result.median(BASE) for name in result.rates} for result in rows]
    every = [ratio for each in ratios for ratio in each.values()]
    low, high = min(0.5, *every) / 1.2, max(2.0, *every) * 1.2
    height = TOP + ROW * len(rows) + 52

    def x(ratio: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(ratio / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<title>Training speed beside PyTorch eager</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *legend([name for name in COLOURS if any(name in each for each in ratios)]),
    ]
    bottom = TOP + ROW * len(rows)
    for tick in (t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low < t < high):
        parts.append(f'<line x1="{x(tick):.1f}" y1="{TOP}" x2="{x(tick):.1f}" y2="{bottom}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555">{tick:g}×</text>')
    for number, (result, each) in enumerate(zip(rows, ratios, strict=True)):
        y = TOP + ROW * (number + 0.5)
        title = WORKLOADS[result.workload].title
        parts.append(f'<text x="12" y="{y - 2:.1f}" font-weight="600">{escape(result.workload)}</text>')
        parts.append(f'<text x="12" y="{y + 14:.1f}" fill="#555" font-size="11.5">{escape(title)}</text>')
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#cccccc"/>')
        for name in sorted(each, key=lambda name: name == "chainrule"):  # ours on top
            radius = 8 if name == "chainrule" else 6
            parts.append(
                f'<circle cx="{x(each[name]):.1f}" cy="{y:.1f}" r="{radius}" fill="{COLOURS[name]}" stroke="#fff">'
                f"<title>{escape(name)}: {result.median(name):,.0f} samples/s, {each[name]:.2f}×</title></circle>"
            )
        ours = each.get("chainrule")
        if ours is not None:
            parts.append(
                f'<text x="{x(ours):.1f}" y="{y - 12:.1f}" text-anchor="middle" font-size="11.5" '
                f'fill="{COLOURS["chainrule"]}">{ours:.3g}×</text>'
            )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{bottom + 40}" text-anchor="middle" fill="#555">'
        "samples trained a second, beside PyTorch eager</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def legend(names: Sequence[str]) -> list[str]:
    """Two lines of names at the top."""
    parts: list[str] = []
    half = -(-len(names) // 2)
    for number, name in enumerate(names):
        left, y = 12 + number % half * 205, 20 + number // half * 20
        parts.append(f'<circle cx="{left + 6}" cy="{y - 4}" r="6" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{left + 18}" y="{y}">{escape(name)}</text>')
    return parts
