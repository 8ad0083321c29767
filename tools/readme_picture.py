"""Draw docs/lemma.svg, the picture of the README: the derivation of a dense layer's weight gradient as printed."""

from __future__ import annotations

from html import escape
from pathlib import Path

import chainrule as cr

EQUATION = "u[n, k] = sum[l](W[k, l]*x[n, l]) + b[k]"
WIDTH, HEIGHT, MARGIN, SIZE = 8.4, 20, 24, 14


def main() -> None:
    lines = cr.derive(EQUATION).to_text().split("\n")
    start, end, table, after = (
        next(i for i, line in enumerate(lines) if line.startswith(word))
        for word in ("Lemmas 1–3", "    x_j ─W_0j", "explanation", "As a program")
    )
    shown = [*lines[table:after], *lines[start:end]]
    while not shown[-1].strip():
        shown.pop()
    columns = max(map(len, shown))
    width, height = 2 * MARGIN + columns * WIDTH, 2 * MARGIN + len(shown) * HEIGHT
    texts: list[str] = []
    for row, line in enumerate(shown):
        # Every character has its own place, so that columns align in any font.
        cells = [(c, MARGIN + i * WIDTH) for i, c in enumerate(line) if not c.isspace()]
        places = " ".join(f"{x:.1f}" for _, x in cells)
        if cells:
            y = MARGIN + SIZE + row * HEIGHT
            texts.append(f'<text y="{y}" x="{places}">{escape("".join(c for c, _ in cells))}</text>')
    style = f"font: {SIZE}px 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1f2328"
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">\n'
        f"<title>The derivation of {escape(EQUATION)}</title>\n"
        f'<rect width="100%" height="100%" rx="10" fill="#f6f8fa"/>\n<g style="{style}">\n'
        + "\n".join(texts)
        + "\n</g>\n</svg>\n"
    )
    Path(__file__).parents[1].joinpath("docs", "lemma.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
