"""What the printed derivation says: its lines, its numbers, its parentheses, in every format and language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import pytest
from tests.examples import few

from chainrule import render
from chainrule.derive.adjoint import Derivation, derive_equation, derive_program
from chainrule.derive.trace import RULES
from chainrule.errors import DerivationError
from chainrule.ir.expr import LOSS, Add, Component, Constant, Expr, Multiply, Power, Reduce, Tensor
from chainrule.ir.index import Affine, Index
from chainrule.ir.parse import parse_program
from chainrule.ir.program import Program
from chainrule.render.build import build
from chainrule.render.document import Document, Figure, Heading, Lines, Table, formulas
from chainrule.render.formula import Formula, write
from chainrule.render.lines import GROUPS
from chainrule.render.names import TILDE, Names, Symbol, names_of
from chainrule.render.prose import LANGUAGES, pieces, sentences
from chainrule.render.styles import LATEX, UNICODE
from chainrule.render.text import width_of

EQUATIONS = [
    "u[n, k] = sum[l](W[k, l] * x[n, l]) + b[k]",
    "p[n, k] = exp(u[n, k] - logsumexp[j](u[n, j]))",
    "y[n, o, i<7, j<7] = sum[c, p<3, q<3](W[o, c, p, q] * pad(x, 0)[n, c, 2*i + p - 1, 2*j + q - 1]) + b[o]",
    "y[n, c, i<7, j<7] = max[p<2, q<2](x[n, c, 2*i + p, 2*j + q])",
    "e[n, t, d] = sum[v]([v == id[n, t]] * E[v, d])",
    "y[n, k] = g[k] * (x[n, k] - m[k]) * v[k]**(-1/2)",
    "m[k] = mean[n](x[n, k])",
    "y[i] = max(x[i], 0) + relu(x[i])",
    "y[i] = abs(x[i]) + min(x[i], 0)*sign(x[i])",
    "loss = mean[n](logsumexp[k](u[n, k]) - sum[k](t[n, k] * u[n, k]))",
]


def program(text: Sequence[str], wrt: Sequence[str], given: dict[str, Tensor], loss: bool = True) -> Derivation:
    equations = tuple(parse_program("\n".join(text), tensors=given))
    own = {t.name: t for t in given.values()}
    parameters = tuple(t for t in given.values() if t.name[0] in "Wb")
    inputs = tuple(t for t in given.values() if t not in parameters)
    last = equations[-1].tensor
    whole = Program(equations, inputs=inputs, parameters=parameters, outputs=(last,))
    return derive_program(whole, last if loss else None, [own[name] for name in wrt])


def mlp(depth: int) -> Derivation:
    given = {"x": Tensor("x", ("N", 4)), "t": Tensor("t", ("N", 4))}
    lines, before = list[str](), "x"
    for layer in range(1, depth + 1):
        given[f"W{layer}"], given[f"b{layer}"] = Tensor(f"W{layer}", (4, 4)), Tensor(f"b{layer}", (4,))
        lines.append(f"u{layer}[n, k] = sum[l](W{layer}[k, l] * {before}[n, l]) + b{layer}[k]")
        lines.append(f"z{layer}[n, k] = sigmoid(u{layer}[n, k])")
        before = f"z{layer}"
    lines.append(f"loss = mean[n](1/2 * sum[k](({before}[n, k] - t[n, k])**2))")
    return program(lines, [name for name in given if name != "t"], given)


def lemma_lines(derivation: Derivation, number: int, detail: str = "standard") -> list[tuple[str, str, str]]:
    blocks = (block for block in build(derivation, "en", detail).blocks if isinstance(block, Lines))
    found = next(block.lines for block in blocks if block.lines[0].number.startswith(f"{number}."))
    return [(x.number, write(x.left, UNICODE) if x.left else "", write(x.right, UNICODE)) for x in found]


def test_the_dense_lemma_has_the_lines_of_the_design():
    lines = lemma_lines(derive_equation(EQUATIONS[0], wrt="W"), 1)
    assert [left or right for _, left, right in lines[:1]] == ["∂f/∂W_ij"]
    right = [r.removeprefix("= ") for _, _, r in lines]
    assert right[0] == "Σ_k (∂f/∂u_k) (∂u_k/∂W_ij)"
    assert right[1] == "Σ_k δ_k (∂(Σ_l W_kl x_l + b_k)/∂W_ij)"
    assert right[2].startswith("Σ_k δ_k") and "Σ_l (∂W_kl/∂W_ij) x_l" in right[2] and "+ 0" not in right[2]
    assert right[3:] == ["Σ_k δ_k Σ_l [k = i] [l = j] x_l", "δ_i x_j", "δ xᵀ"]
    blocks = build(derive_equation(EQUATIONS[0], wrt="W"), "en", "standard").blocks
    last = next(b for b in blocks if isinstance(b, Lines)).lines[-1]
    assert [write(p, UNICODE) for p in last.reason if isinstance(p, Formula)] == ["(K×1)(1×L) = K×L ✓"]
    table = [write(f, UNICODE) for f in formulas(Document("en", "", tuple(b for b in blocks if isinstance(b, Table))))]
    assert "∇_W f = Δᵀ X" in table  # for all samples


def test_the_matrix_line_carries_its_shape_check():
    document = render.text(derive_equation("u[n, k<3] = sum[l<2](W[k, l] * x[n, l])", wrt="W"))
    assert "(3×1)(1×2) = 3×2 ✓" in document


@pytest.mark.parametrize("text", EQUATIONS)
def test_a_lemma_has_at_most_seven_lines_with_stable_numbers(text: str):
    derivation = derive_equation(text)
    for number in range(1, len(derivation.lemmas) + 1):
        lines = lemma_lines(derivation, number)
        # A split by a stride has one line more for each residue class.
        assert len(lines) <= 7 + 2 * (len(derivation.lemmas[number - 1].pieces) - 1)
        assert [n for n, _, _ in lines] == [f"{number}.{i}" for i in range(1, len(lines) + 1)]


def test_detail_groups_the_same_steps():
    derivation = derive_equation(EQUATIONS[0], wrt="W")
    brief, standard, full = (lemma_lines(derivation, 1, d) for d in ("brief", "standard", "full"))
    assert len(brief) < len(standard) < len(full)
    assert brief[0][:2] == standard[0][:2] and standard[0] == full[0]
    assert brief[0][2] == standard[0][2] + " = δ_i x_j"  # the first and the last in one line
    # The form for all samples is a line of its own in brief and in full; in standard it stands with the result.
    assert brief[-2][1:] == standard[-1][1:] == full[-2][1:] and brief[-1][1:] == full[-1][1:]
    steps = derivation.lemmas[0].sample
    assert steps is not None and len(full) == len(steps.all_steps) + 2


def test_the_document_does_not_grow_with_depth():
    # A network of 6 layers still has a listing, one of 12 has not.
    short, long = (size(build(mlp(depth), "en", "standard")) for depth in (12, 16))
    assert short == long > 80


def size(document: Document) -> int:
    """Blocks, lines of proofs, rows of tables and spots of figures."""
    result = len(document.blocks)
    for block in document.blocks:
        match block:
            case Lines(lines=inside) | Table(rows=inside) | Figure(spots=inside):
                result += len(inside)
            case _:
                pass
    return result


def test_a_run_of_equal_layers_is_printed_once():
    text = render.text(mlp(6))
    assert "r = 2, …, 6" in text
    assert "(Σ_k δ^[r+1]_k W^[r+1]_ki) z^[r]_i (1 − z^[r]_i)" in text
    assert "(W^[r+1]ᵀ δ^[r+1]) ⊙ z^[r] ⊙ (1 − z^[r])" in text
    assert "J_hᵀ J_gᵀ" in text


def test_fan_out_prints_the_line_that_adds_the_uses():
    given = {"x": Tensor("x", ("N", 3)), "W": Tensor("W", (3, 3))}
    lines = ["u[n, k] = sum[l](W[k, l] * x[n, l])", "y[n, k] = u[n, k] + x[n, k]"]
    derivation = program(lines, ["x", "W"], given, loss=False)
    text = re.sub(r"\s+", " ", render.text(derivation, width=200))
    assert "x is used 2 times" in text
    assert "(∇_x f)_1 + (∇_x f)_2" in text


# --- formulas -----------------------------------------------------------------------------------

ROW, K = Index("i", 3), Index("k", 3)


def vector(name: str, index: Index = ROW) -> Component:
    return Component(Tensor(name, (3,)), (Affine.of(index),))


A, B, C = vector("a"), vector("b"), vector("c")
TWO, MINUS = Constant(Fraction(2)), Constant(Fraction(-1))
NAMES = Names({name: Symbol(name) for name in "abc"}, {}, {}, True)


def unicode(node: Expr) -> str:
    return write(Formula((node,), NAMES), UNICODE)


def latex(node: Expr) -> str:
    return write(Formula((node,), NAMES), LATEX)


@pytest.mark.parametrize(
    ("node", "expected", "in_latex"),
    [
        (Multiply((Add((A, B)), Add((B, C)))), "(a_i + b_i) (b_i + c_i)", "(a_{i} + b_{i}) (b_{i} + c_{i})"),
        (Add((A, Multiply((MINUS, B)))), "a_i − b_i", "a_{i} - b_{i}"),
        (Add((A, Multiply((MINUS, Add((B, C)))))), "a_i − (b_i + c_i)", "a_{i} - (b_{i} + c_{i})"),
        (Multiply((A, Multiply((MINUS, B)))), "a_i (−b_i)", "a_{i} (-b_{i})"),
        (Power(Add((A, B)), Fraction(2)), "(a_i + b_i)²", "{(a_{i} + b_{i})}^{2}"),
        (Power(Multiply((A, B)), Fraction(2)), "(a_i b_i)²", "{(a_{i} b_{i})}^{2}"),
        (Multiply((A, Power(Add((B, C)), Fraction(-1)))), "a_i/(b_i + c_i)", r"\frac{a_{i}}{b_{i} + c_{i}}"),
        (Multiply((C, A, Power(B, Fraction(-1)), C)), "c_i (a_i/b_i) c_i", r"c_{i} \, \frac{a_{i}}{b_{i}} \, c_{i}"),
        (Multiply((A, TWO)), "a_i · 2", r"a_{i} \cdot 2"),
        (
            Multiply((Reduce("sum", (K,), vector("b", K)), A)), "(Σ_k b_k) a_i",
            r"\left(\sum_{k} b_{k}\right) a_{i}",
        ),
        (Reduce("sum", (K,), Add((vector("b", K), A))), "Σ_k (b_k + a_i)", r"\sum_{k} (b_{k} + a_{i})"),
        (Add((Reduce("sum", (K,), vector("b", K)), A)), "Σ_k b_k + a_i", r"\sum_{k} b_{k} + a_{i}"),
    ],
)
def test_parentheses_stand_where_precedence_needs_them(node: Expr, expected: str, in_latex: str):
    assert unicode(node) == expected
    assert latex(node) == in_latex


def test_a_product_of_sums_is_never_a_sum_of_products():
    """Negative control: losing a parenthesis would print both alike."""
    assert unicode(Multiply((Add((A, B)), C))) != unicode(Add((A, Multiply((B, C)))))
    assert latex(Multiply((Add((A, B)), C))) != latex(Add((A, Multiply((B, C)))))


# --- names --------------------------------------------------------------------------------------


def test_every_tensor_has_a_symbol_of_its_own():
    derivation = mlp(3)
    symbols = names_of(derivation).symbols
    program_ = derivation.forward
    assert {t.name for t in (*program_.given, *program_.defined)} <= {*symbols, LOSS.name}
    assert len(set(symbols.values())) == len(symbols)


def symbols_of(text: str) -> dict[str, str]:
    """How each tensor is written, and how the arbitrary function is."""
    names = names_of(derive_equation(text))
    return {name: s.stem + (f"^[{s.layer}]" if s.layer else "") for name, s in names.symbols.items()} | {
        "a function": names.loss.stem
    }


def test_no_tensor_has_a_letter_of_the_document():
    symbols = symbols_of("y[n] = x[n] * f[n] * N[n] * δ[n] * sigma[n] * sample_loss[n]")
    assert (symbols["f"], symbols["a function"]) == ("f", "q")
    assert symbols["N"] == "N" + TILDE and symbols["δ"] == "δ" + TILDE and symbols["sigma"] == "sigma"
    assert symbols["sample_loss"] == "sample_loss"
    assert symbols_of("y[n] = x[n] * g[n]")["a function"] == "f"
    latex_ = render.latex(derive_equation("y[n] = x[n] * N[n] * δ[n]"))
    assert r"\tilde{N}" in latex_ and r"\tilde{\delta}" in latex_


def test_no_tensor_has_the_capital_of_another_ones_batch():
    derivation = derive_equation("y[n, i] = x[n, i] * X[n, i] * f[n, i] * F[n, i]")
    names = names_of(derivation).of_batch()
    x, capital, f = (next(t for t in derivation.forward.given if t.name == name) for name in ("x", "X", "f"))
    assert names.matrix_symbol(x, names.symbol(x)) == Symbol("X")
    assert names.symbol(capital) == Symbol("X" + TILDE) == names.matrix_symbol(capital, names.symbol(capital))
    assert names.matrix_symbol(f, names.symbol(f)) == Symbol("F") and names.loss == Symbol("q")
    assert symbols_of("y[n, i] = W[n, i] * b[n]")["W"] == "W"


def test_names_with_underscores_and_digits_are_readable():
    text = "u[n, k] = x_1[n] * x__2[k] * x1[n] * W_a[n, k] * alpha_12[k]"
    symbols = symbols_of(text)
    assert [symbols[n] for n in ("x_1", "x1", "alpha_12")] == ["x₁", "x^[1]", "α₁₂"]
    assert (symbols["x__2"], symbols["W_a"]) == ("x__2", "W_a")
    source = render.latex(derive_equation(text))
    assert "[," not in source and r"{x_{\mathrm{1}}}" in source and r"{\alpha_{\mathrm{12}}}_{k}" in source
    assert [c for c in source if ord(c) > 126] == []


def test_each_maximum_has_one_name_in_the_whole_document():
    text = render.text(derive_equation("y[n] = max[i](x[n, i]) * max[k](z[n, k])"), width=200)
    assert "m* is the place of the maximum, saved by the forward pass: m* = argmax_i x_i." in text
    assert "r* is the place of the maximum, saved by the forward pass: r* = argmax_k z_k." in text
    assert "[j = r*]" in text and "*^[" not in text


def test_a_sum_is_written_the_same_way_throughout_a_lemma():
    mean = " ".join(r for _, _, r in lemma_lines(derive_equation("y[k] = mean[n](x[n, k])"), 1, "full"))
    assert "[n′ = n]" in mean and "<" not in mean
    window = lemma_lines(derive_equation("y[n, i<4] = max[p<2](x[n, 2*i + p])"), 1)
    assert any("Σ_{p<2}" in right for _, _, right in window)  # no subscript shows this extent


# --- prose --------------------------------------------------------------------------------------


def test_both_languages_have_the_same_sentences_with_the_same_places():
    english, chinese = sentences("en"), sentences("zh")
    assert english.keys() == chinese.keys()
    for key, sentence in english.items():
        places, others = (sorted(name for _, name in pieces(s) if name) for s in (sentence, chinese[key]))
        assert places == others, key


def test_every_rule_has_a_sentence_and_a_group():
    for id in (*RULES, "split", "cite"):
        assert f"rule.{id}" in sentences("en"), id
        assert f"group.{GROUPS[id]}" in sentences("en"), id


def test_an_unknown_language_or_detail_is_refused():
    derivation = derive_equation(EQUATIONS[0])
    with pytest.raises(DerivationError, match="language"):
        render.text(derivation, "fr")
    with pytest.raises(DerivationError, match="detail"):
        render.text(derivation, detail="long")


def test_an_equation_without_a_real_tensor_on_the_right_is_refused():
    for text in ("y[n] = 1", "y[n, k] = [k == id[n]]"):
        with pytest.raises(DerivationError, match="nothing to differentiate by"):
            derive_equation(text)


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("detail", "text"), few(product(["brief", "standard", "full"], EQUATIONS), 2))
def test_every_format_prints_in_both_languages(text: str, detail: str):
    derivation = derive_equation(text)
    counts = {len(list(formulas(build(derivation, lang, detail)))) for lang in LANGUAGES}
    assert len(counts) == 1
    for lang in LANGUAGES:
        source = render.latex(derivation, lang, detail)
        unescaped = source.replace(r"\{", "").replace(r"\}", "")
        assert unescaped.count("{") == unescaped.count("}")
        assert source.count(r"\left") == source.count(r"\right")
        assert sorted(re.findall(r"\\begin\{(\w+)\}", source)) == sorted(re.findall(r"\\end\{(\w+)\}", source))
        assert render.markdown(derivation, lang, detail).count("$") % 2 == 0
        for line in render.text(derivation, lang, detail, width=100).splitlines():
            assert width_of(line) <= 100, line


def test_latex_holds_no_character_that_it_would_lose():
    for text in EQUATIONS:
        source = render.latex(derive_equation(text), "en", "full")
        assert [c for c in source if ord(c) > 126] == []


def test_headings_come_in_the_order_of_the_article():
    titles = [b.text[0] for b in build(mlp(3), "en", "standard").blocks if isinstance(b, Heading) and b.level == 1]
    assert titles == [
        "The network", "A worked example", "The algorithm on one page", "The lemmas", "Lemmas put together",
        "The backward pass", "Notation",
    ]


def test_a_row_is_not_called_the_loss_where_none_is_given():
    text = render.text(derive_equation("u[n, k] = sum[l](W[k, l]*x[n, l]); y[n, k] = sigmoid(u[n, k])"))
    assert "The backward pass" in text and "The loss" not in text
