"""The certificate as the last section of a document."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import pytest

import chainrule as cr
from chainrule.derive.subject import Subject
from chainrule.render.certified import Certified
from chainrule.render.document import Code

MODEL = cr.Sequential(cr.Input(3), cr.Dense(2), cr.Sigmoid(), loss="half_squared_error")
HEADINGS = {"en": "The certificate", "zh": "校验证书"}
Language = Literal["en", "zh"]


@pytest.fixture(scope="module")
def certificate() -> cr.Certificate:
    return MODEL.verify()


def written(lang: Language, certificate: cr.Certificate | None, detail: Literal["brief", "standard", "full"]) -> str:
    return MODEL.derive().to_markdown(lang=lang, detail=detail, certificate=certificate)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("detail", ["brief", "standard", "full"])
def test_the_last_section_states_the_certificates_numbers(
    lang: Language, detail: Literal["brief", "standard", "full"], certificate: cr.Certificate
) -> None:
    plain, whole = written(lang, None, detail), written(lang, certificate, detail)
    assert whole.startswith(plain.rstrip("\n"))
    section = whole[len(plain.rstrip("\n")) :]
    assert HEADINGS[lang] in section
    assert f"{certificate.count('exact')} " in section and certificate.power in section
    assert HEADINGS[lang] not in plain


def test_the_detail_sets_how_much_is_said(certificate: cr.Certificate) -> None:
    sizes = [
        len(written("en", certificate, detail)) - len(written("en", None, detail))
        for detail in ("brief", "standard", "full")
    ]
    assert sizes == sorted(sizes) and sizes[0] < sizes[1] < sizes[2]
    full = written("en", certificate, "full")
    for what, *_ in certificate.rows:
        assert all(f"`{name}`" in full for name in re.findall(r"[a-z]+\d?\.\w+", str(what)))
    for shapes in certificate.shapes:
        assert shapes.extents in full


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_row_is_named_in_the_language_of_the_document(lang: Language, certificate: cr.Certificate) -> None:
    section = Certified(MODEL.derive(), lang, "full")
    models = (MODEL, cr.read_model("neuron"), cr.read_model("mlp"))
    for one in (certificate, *(m.verify(optimizer="adam") for m in models[1:])):
        for what, *_ in one.rows:
            named = section.named(what)
            words = "".join(part for part in named if isinstance(part, str))
            assert (lang == "en") == all(ord(c) < 0x2E00 for c in words) or not words.strip(), what
    assert section.named(Subject("other", y="something else")) == (Code("something else"),)
    cut = section.named(Subject("step", y="value", rule="Adam", cut=3))
    assert "3" in "".join(part for part in cut if isinstance(part, str))


def test_a_step_that_is_checked_at_smaller_extents_says_so_in_chinese() -> None:
    model = cr.Sequential(cr.Input(500), cr.Dense(500), loss="half_squared_error")
    text = model.derive().to_text(lang="zh", detail="full", certificate=model.verify(optimizer="adam"))
    assert "extents of at most" not in text and "各维长度至多为 3" in text


def test_a_certificate_of_another_derivation_is_refused(certificate: cr.Certificate) -> None:
    other = cr.Sequential(cr.Input(3), cr.Dense(2), cr.Tanh(), loss="half_squared_error")
    with pytest.raises(cr.DerivationError, match="another derivation"):
        other.derive().to_text(certificate=certificate)
    again = cr.Certificate.from_json(certificate.to_json())
    assert "The certificate" in MODEL.derive().to_text(certificate=again)


def test_every_format_has_the_section(certificate: cr.Certificate) -> None:
    derivation = MODEL.derive()
    assert "The certificate" in derivation.to_text(certificate=certificate)
    assert r"\section*{The certificate}" in derivation.to_latex(certificate=certificate)
    # The proof of a kernel is another matter: the words claim a check, and a bound.
    assert "证明" not in written("zh", certificate, "full").split(HEADINGS["zh"])[1]


def test_a_line_with_evidence_alone_is_said_to_have_no_bound(certificate: cr.Certificate) -> None:
    entries = (replace(certificate.entries[0], tier="evidence"), *certificate.entries[1:])
    assert "1 more agree by evidence, without a bound" in written("en", replace(certificate, entries=entries), "brief")


@pytest.mark.parametrize("detail", ["brief", "standard", "full"])
def test_latex_holds_no_character_that_it_would_lose(
    detail: Literal["brief", "standard", "full"], certificate: cr.Certificate
) -> None:
    entries = (replace(certificate.entries[0], tier="evidence"), *certificate.entries[1:])
    evidence = replace(certificate, entries=entries)
    source = MODEL.derive().to_latex(detail=detail, certificate=evidence)
    assert [c for c in source if ord(c) > 126] == []
