"""Cut the fonts of the documents to the glyphs that they use: `python tools/fonts.py`, after a change of the prose.

Needs fontTools and brotli, and Debian's packages fonts-texgyre, fonts-texgyre-math, fonts-noto-cjk and
fonts-noto-cjk-extra. The results are committed: a plain install needs none of these.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "src" / "chainrule" / "render" / "fonts"
PROSE = ROOT / "src" / "chainrule" / "render" / "prose"
GYRE = Path("/usr/share/texmf/fonts/opentype/public")
NOTO = Path("/usr/share/fonts/opentype/noto")
LATIN = "".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x180)))) + "–—‘’“”…•·×−→≤≥\u2009\u202f"
SIGNS = (
    "∂∑∏∇√∞·×⊙⋆∗≤≥≠=<>+−±′″‴ℓ𝓛ℒ⊤✓…→←↑↓|‖¯‾~^˜*𝟏∈[]{}()⟨⟩/,.;:!?\u2061\u2062\u2063\u0302\u0303\u0304\u2009\u200a"
    "⋮⏟⎡⎢⎣⎤⎥⎦⎛⎜⎝⎞⎟⎠∘≈∝∼∪∩∀∃∅‚"
)
FEATURES = ["kern", "liga", "ccmp", "mark", "mkmk", "ssty", "dtls", "flac", "math"]
GREEK = "".join(map(chr, (*range(0x391, 0x3AA), *range(0x3B1, 0x3CA), 0x3D5, 0x3F5, 0x3D1, 0x3F1)))
ITALIC = "".join(map(chr, (*range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C)))) + "ℎ"


def chinese() -> str:
    text = (PROSE / "zh.toml").read_text(encoding="utf-8")
    return "".join(sorted({c for c in text if ord(c) > 0x2E00})) + "，。；：、（）《》「」！？“”·…—【】第层"


def cut(source: Path, name: str, text: str, family: str, number: int = -1) -> str:
    """Write one font with the glyphs of `text`, under a name of its own as its licence asks; the characters it has."""
    font = TTFont(source, fontNumber=number, recalcTimestamp=False)
    have = font.getBestCmap() or {}
    options = subset.Options(layout_features=FEATURES, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14], hinting=False)
    options.notdef_outline = True
    maker = subset.Subsetter(options)
    maker.populate(text=text)
    maker.subset(font)
    style = font["name"].getDebugName(2) or "Regular"
    names = {1: family, 16: family} | {n: f"{family} {style}".replace(" ", "-" if n == 6 else " ") for n in (3, 4, 6)}
    for record in list(font["name"].names):
        if record.nameID in names:
            place = record.platformID, record.platEncID, record.langID
            font["name"].setName(names[record.nameID], record.nameID, *place)
    if "CFF " in font:
        font["CFF "].cff.fontNames = [f"{family} {style}".replace(" ", "-")]
    font.save(OUT / f"{name}.otf")
    font.flavor = "woff2"
    font.save(OUT / f"{name}.woff2")
    lost = [c for c in dict.fromkeys(text) if ord(c) not in have and c.isprintable()]
    sizes = " ".join(f"{p.suffix} {p.stat().st_size:,}" for p in sorted(OUT.glob(f"{name}.*")))
    own = TTFont(OUT / f"{name}.otf").getBestCmap() or {}
    print(f"{name}: {sizes}; not in the font: {''.join(lost)[:60]!r}")
    return "".join(map(chr, sorted(own)))


def main() -> int:
    OUT.mkdir(exist_ok=True)
    signs = LATIN[:95] + SIGNS + GREEK + ITALIC
    known = {"math": cut(GYRE / "tex-gyre-math" / "texgyrepagella-math.otf", "math", signs, "Chainrule Math")}
    for style in ("bold", "italic", "regular"):
        known["text"] = cut(GYRE / "tex-gyre" / f"texgyrepagella-{style}.otf", f"text-{style}", LATIN, "Chainrule Text")
    for style in ("Bold", "Regular"):
        name = f"chinese-{style.lower()}"
        known["chinese"] = cut(NOTO / f"NotoSerifCJK-{style}.ttc", name, chinese(), "Chainrule Chinese", 2)
    # typst brings DejaVu Sans Mono itself; these it is known to have.
    code = (*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3A2), *range(0x3A3, 0x3CA))
    known["code"] = "".join(map(chr, code)) + "∂×−·…≤≥√∞"
    lines = (f"{name} = {json.dumps(text, ensure_ascii=True)}" for name, text in known.items())
    (OUT / "glyphs.toml").write_text("\n".join(map(toml, lines)) + "\n", encoding="utf-8")
    return 0


def toml(line: str) -> str:
    """JSON's pair of surrogates as the one escape that TOML knows."""
    return re.sub(
        r"\\u(d[89ab]..)\\u(d[c-f]..)",
        lambda m: f"\\U{0x10000 + ((int(m[1], 16) - 0xD800) << 10) + int(m[2], 16) - 0xDC00:08x}", line,
    )


if __name__ == "__main__":
    sys.exit(main())
