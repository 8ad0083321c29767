"""What `mkdocs build` asks of chainrule, as hooks: derivations as our MathML, and the reference from the docstrings.

A fence ```derivation holds equations, and the lemmas of their derivation stand in its place. The documents of
tools/documents.py, Markdown where they are read as files, are shown as a whole.
"""

from __future__ import annotations

import inspect
import re
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import chainrule as cr

ROOT = Path(__file__).resolve().parents[1]
FONTS = ROOT / "src" / "chainrule" / "render" / "fonts"
FACE = re.compile(r"@font-face\{.*?\}\n", re.DOTALL)
FENCE = re.compile(r"^```derivation\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
LEMMAS = re.compile(r"(<main>\n).*?(<h3>.*?)\n<h2.*(\n</main>)", re.DOTALL)
HAN = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
BROKEN = re.compile(rf"(?<=[，。；：、）])\n *(?=[\w`*(（])|(?<={HAN})\n *(?={HAN})")
"""The end of a line that is none of a sentence: Chinese has no space there."""
FIRST = ("chainrule.train.model", "chainrule.train.sequential", "chainrule.derivation", "chainrule.verify")
LONG = 76
QUOTED = re.compile(r": (['\"])(.*?)\1(?=[,)= ]|$)")
PLACE = '<div data-derivation="{}"></div>\n'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The reference, and the fonts that guide.css names, each once in the repository."""
    files.append(File.generated(config, "reference.md", content=reference()))
    for name in ("math", "text-regular", "text-italic", "text-bold", "chinese-regular", "chinese-bold"):
        content = (FONTS / f"{name}.woff2").read_bytes()
        files.append(File.generated(config, f"fonts/{name}.woff2", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Derivations are taken out of the page, and a place for each is left."""
    drawn: list[str] = []
    page.meta["derivations"] = drawn
    if ".zh." in page.file.src_uri:
        markdown = BROKEN.sub("", markdown)
    model = import_module("tools.documents").MODELS.get(page.file.src_uri)
    if model:
        page.meta["hide"] = ["toc"]
        drawn.append(shown(cr.read_model(model).derive(), "zh"))
        return markdown.split("\n", 1)[0] + "\n\n" + PLACE.format(0)

    def place(fence: re.Match[str]) -> str:
        whole = shown(cr.derive(fence[1]), "zh" if ".zh." in page.file.src_uri else "en")
        drawn.append(LEMMAS.sub(r"\1\2\3", whole))
        return PLACE.format(len(drawn) - 1)

    return FENCE.sub(place, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    for number, drawn in enumerate(page.meta["derivations"]):
        html = html.replace(PLACE.format(number).strip(), drawn)
    return html


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    return output.replace('<html lang="en"', '<html lang="zh-Hans"', 1) if ".zh." in page.file.src_uri else output


def shown(derivation: cr.Derivation, lang: Any) -> str:
    """The body of the document and its style, without the fonts, which the guide has once."""
    page = derivation.to_html(lang=lang)
    style, body = re.findall(r"<style>\n(.*?)</style>.*?<body class=\"cr\">\n(.*?)<script>", page, re.DOTALL)[0]
    return f'<div class="cr" data-search-exclude><style>\n{FACE.sub("", style)}</style>\n{body}</div>'


# The reference


def reference() -> str:
    """Every public name with its signature and docstring, by the module that it comes from."""
    sections: dict[str, list[str]] = {}
    for name in cr.__all__:
        value = getattr(cr, name)
        sections.setdefault(getattr(value, "__module__", "chainrule.train.metrics"), []).append(name)
    text = f"# Reference\n\nWritten from the docstrings of this version, {cr.__version__}.\n"
    for module in sorted(sections, key=lambda name: (not name.startswith(FIRST), name)):
        title = (inspect.getdoc(import_module(module)) or module).replace("\n", " ")
        text += f"\n## {re.split(r'[.:,;]', title)[0]}\n" + "".join(map(entry, sections[module]))
    return text


def entry(name: str) -> str:
    value = getattr(cr, name)
    if not callable(value):
        return f"\n### `{name}`\n\n" + prose(", ".join(f"`{each}`" for each in value))
    head = called(name, value)
    text = f"\n### `{name}`\n\n" + (f"```python\n{head}\n```\n\n" if head != name else "") + prose(own_doc(value))
    if inspect.isclass(value) and not issubclass(value, Exception):
        for label, own in members(value).items():
            target = own.fget if isinstance(own, property) else inspect.unwrap(getattr(own, "__func__", own))
            if label.startswith("_") or not inspect.isfunction(target) or not target.__doc__:
                continue
            head = label if isinstance(own, property) else called(label, target)
            text += f"\n```python\n{name}.{head}\n```\n\n" + prose(inspect.cleandoc(target.__doc__))
    return text


def members(kind: type) -> dict[str, Any]:
    """What a class defines, and what it has from classes that are not public."""
    ours = (base for base in kind.__mro__ if base.__module__.startswith("chainrule"))
    bases = [base for base in ours if base is kind or base.__name__ not in cr.__all__]
    return {label: member for base in reversed(bases) for label, member in vars(base).items()}


def own_doc(value: Any) -> str:
    """The docstring, but not the one that dataclass makes of the signature."""
    text = inspect.getdoc(value) or ""
    return "" if text.startswith(f"{value.__name__}(") else text


def called(name: str, value: Any) -> str:
    """name(arguments)."""
    try:
        signature = inspect.signature(value)
    except ValueError:
        return name
    given = [p for key, p in signature.parameters.items() if key not in ("self", "cls", "_")]
    bare = signature.replace(parameters=given, return_annotation=inspect.Signature.empty)
    line = QUOTED.sub(r": \2", name + str(bare))
    if "<factory>" in line:  # made by chainrule, and not by its user
        return name
    if len(line) <= LONG:
        return line
    each = [QUOTED.sub(r": \2", str(p)) for p in given]
    if inspect.Parameter.KEYWORD_ONLY in {p.kind for p in given}:
        each.insert([p.kind for p in given].index(inspect.Parameter.KEYWORD_ONLY), "*")
    return f"{name}(\n" + "".join(f"    {one},\n" for one in each) + ")"


def prose(text: str) -> str:
    """A docstring as Markdown: signs of formulas stay signs, and what is indented is code."""
    result = ""
    for part in re.split(r"\n\s*\n", text):
        if part.startswith("    "):
            result += f"```text\n{inspect.cleandoc(part)}\n```\n\n"
            continue
        pieces = re.split(r"(`[^`]*`)", part)
        result += "".join(
            piece if piece.startswith("`") else re.sub(r"([\\*_\[\]#|])", r"\\\1", escape(piece, quote=False))
            for piece in pieces
        ) + "\n\n"
    return result
