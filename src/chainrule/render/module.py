"""A derivation as a file of its own for an array library: forward, backward, and a test against another's gradient.

What computes is the listing; here stands what a library wants around it: `torch.autograd.Function`, `jax.custom_vjp`.
Each line of the backward pass cites its lemma.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from textwrap import indent, wrap

import numpy as np

from chainrule.arrays.execute import execute
from chainrule.arrays.ids import ANY, Limits, limits
from chainrule.derive.adjoint import Derivation, Use
from chainrule.derive.fold import in_place
from chainrule.ir.expr import Tensor
from chainrule.ir.index import small_extents
from chainrule.ir.print import to_text
from chainrule.ir.program import Equation, reads
from chainrule.render.libraries import JAX_NUMPY, NUMPY, TORCH, NumPy
from chainrule.render.lines import GROUPS
from chainrule.render.listing import WIDTH, Function, filled, needed, signals_of, variables
from chainrule.render.names import names_of

RESERVED = ("torch", "jax", "jnp", "ctx", "given", "saved", "forward", "backward", "function", "value", "dvalue")
IMPORTS = ("import jax", "import jax.numpy as jnp", "import numpy as np", "import torch")
ASSIGNED = re.compile(r"(\w+(?:, \w+)*)(?:\[.*\])? = ")
QUIET = frozenset({"chain", "definition", "algebra"})
"""Reasons that every lemma has."""
SAMPLES = 5
DRAWN: Mapping[str, Mapping[str, str]] = {
    "NumPy": {
        "normal": "rng.normal(size={shape})", "positive": "rng.uniform(0.1, 0.9, {shape})",
        "integer": "rng.integers(0, {top}, {shape})",
    },
    "JAX": {
        "normal": "rng.normal(size={shape})", "positive": "rng.uniform(0.1, 0.9, {shape})",
        "integer": "rng.integers(0, {top}, {shape})",
    },
    "PyTorch": {
        "normal": "torch.randn({shape}, dtype=torch.float64)",
        "positive": "torch.rand({shape}, dtype=torch.float64) * 0.8 + 0.1",
        "integer": "torch.randint(0, {top}, {shape})",
    },
}
"""How the test's values are drawn."""

CHECKS: Mapping[str, str] = {
    "NumPy": """
rng = np.random.default_rng(0)
{values}
given = {given}
weight = rng.normal(size={shape})
gradients = {call}(*given{weighted})[1]
for name, place in {places}.items():
    step = 1e-5 * rng.normal(size=given[place].shape)
    ends = [{call}(*(v + h * step if n == place else v for n, v in enumerate(given)){weighted})[0] for h in (1, -1)]
    slope = np.sum({weigh}ends[0] - {weigh}ends[1]) / 2
    error = abs(slope - np.sum(gradients[name] * step)) / max(abs(slope), 1e-5)
    print(f"{{name}}: {{error:.0e}} from central differences")
    assert error < 1e-5, name
""",
    "JAX": """
jax.config.update("jax_enable_x64", True)
rng = np.random.default_rng(0)
{values}
given = {given}
places = {places}
weight = rng.normal(size={shape})
wrt = tuple(places.values())
ours = jax.jit(jax.grad(lambda *v: (function(*v) * weight).sum(), wrt))(*given)
theirs = jax.jit(jax.grad(lambda *v: (forward(*v)[0] * weight).sum(), wrt))(*given)
for name, a, b in zip(places, ours, theirs, strict=True):
    error = abs(a - b).max() / max(1, abs(b).max())
    print(f"{{name}}: {{error:.0e}} from jax.grad")
    assert error < 1e-12, name
""",
    "PyTorch": """
torch.manual_seed(0)
{values}
given = {given}
places = {places}
wrt = [given[place].requires_grad_() for place in places.values()]
value = forward(*given)[0]
weight = torch.randn_like(value)
ours = torch.autograd.grad(function(*given), wrt, weight)
theirs = torch.autograd.grad(value, wrt, weight, materialize_grads=True)
for name, a, b in zip(places, ours, theirs, strict=True):
    error = float((a - b).abs().max() / b.abs().max().clamp(min=1))
    print(f"{{name}}: {{error:.0e}} from autograd")
    assert error < 1e-12, name
""",
}
AROUND: Mapping[str, str] = {
    "JAX": '''
@jax.custom_vjp
def function({given}):
    """{value}; JAX differentiates it by `backward`."""
    return forward({given})[0]


function.defvjp(forward, backward)
''',
    "PyTorch": '''
class Function(torch.autograd.Function):
    """PyTorch differentiates it by `backward`."""

    @staticmethod
    def forward(ctx, *given):
        value, saved = forward(*given)
        ctx.save_for_backward(*saved)
        return value

    @staticmethod
    def backward(ctx, dvalue):
        return backward(ctx.saved_tensors, dvalue)


def function({given}):
    """{value}."""
    return Function.apply({given})
''',
}


def numpy(derivation: Derivation) -> str:
    """The listing of a document as a file, with central differences. Raises DerivationError for what has no word."""
    module = _Module(derivation, NUMPY)
    return module.file([module.whole()])


def jax(derivation: Derivation) -> str:
    """`function`, a `jax.custom_vjp`. Raises DerivationError for what has no word in JAX."""
    return _Module(derivation, JAX_NUMPY).framed()


def torch(derivation: Derivation) -> str:
    """`function`, a `torch.autograd.Function`. Raises DerivationError for what has no word in PyTorch."""
    return _Module(derivation, TORCH).framed()


def joined(imports: Iterable[str], helpers: Iterable[str], functions: Iterable[str]) -> str:
    """A file of these, two empty lines between its parts. An empty line among the imports ends those that come with
    Python; `math` is one where it is used."""
    parts, imports = [*helpers, *functions], [*imports]
    if any("math." in text for text in parts):
        imports = ["import math", *([] if "" in imports else [""]), *imports]
    return "\n\n\n".join(["\n".join(imports), *parts]) + "\n"


class _Module:
    def __init__(self, derivation: Derivation, library: NumPy) -> None:
        self.derivation, self.library = derivation, library
        self.words = variables(derivation, names_of(derivation), RESERVED)
        backward = in_place(derivation)
        wanted = needed(derivation, backward)
        self.forward = [e for e in derivation.forward.equations if e.tensor in wanted]
        self.backward = [e for e in backward if e.tensor in wanted]
        read = {*reads((*self.forward, *self.backward)), *(p.tensor for p in derivation.parts.values())}
        self.given = [t for t in derivation.forward.given if t in read]
        self.signals = signals_of(derivation)
        self.outcome = derivation.loss or derivation.forward.outputs[0]
        self.limits = Limits(derivation.joint.equations, (*derivation.forward.given, *self.signals))
        self.helpers: set[str] = set()
        self.uses = {e: use for part in derivation.parts.values() for use in part.uses for e in use.equations}
        self.mapping = {
            t: Tensor(self.words[t.name], t.shape, t.dtype)
            for t in (*derivation.joint.given, *derivation.joint.defined, *(e.tensor for e in backward))
        }
        self.folded = {e.tensor for e in backward if e not in derivation.backward.equations}

    # Functions

    def function(self, given: Sequence[Tensor], equations: Sequence[Equation], result: Sequence[str]) -> list[str]:
        """The lines of a function that is given these tensors. What no later line reads is left out: a bracket may
        turn out to be 1, and then nobody asks where the maximum stood."""
        made = Function(self.library, self.words, given, self.limits)
        groups = [made.lines([equation], self.said) for equation in equations]
        lines = [*result]
        for group in reversed(groups):
            names = [w for line in group if (found := ASSIGNED.match(line)) for w in found[1].split(", ")]
            if any(_reads(lines, name) for name in names):
                lines = [*group, *lines]
        self.helpers |= made.helpers
        return [*made.head(), *lines]

    def said(self, equation: Equation) -> list[str]:
        """What stands above a statement: the lemma that it is the last line of, and the equation itself."""
        use = self.uses.get(equation)
        lines = ["# the paths through a layer, folded:"] if equation.tensor in self.folded else []
        lines = lines if use is None else self.cited(use)
        return lines + wrap(
            to_text(equation.over(self.mapping)), WIDTH, initial_indent="# ", subsequent_indent="#     ",
            break_long_words=False, break_on_hyphens=False,
        )

    def cited(self, use: Use) -> list[str]:
        reasons = dict.fromkeys(GROUPS[step.rule] for step in use.lemma.all_steps)
        words = ", ".join(r for r in reasons if r not in QUIET)
        return [f"# lemma {self.derivation.number(use.lemma)}{f', by {words}' if words else ''}:"]

    def framed(self) -> str:
        """forward and backward for a framework, and what makes them one function that it differentiates."""
        names = [self.words[t.name] for t in self.given]
        signal = self.words[self.signals[0].name] if self.signals else "dvalue"
        saved = self.saved()
        result = filled("return (", _several([self.gradient(t) for t in self.given]), ")", "    ")
        lines = self.function((*saved, *self.signals), self.backward, result)
        kept = [word for t in saved if _reads(lines, word := self.words[t.name])]
        unpacked = filled("(", _several(kept), ") = saved", "    ") if kept else []
        says = f"The gradients, where that of the {'value' if self.signals else 'loss'} is {signal}"
        back = _function([f"def backward(saved, {signal}):"], says, [*unpacked, *lines])
        result = filled(f"return {self.words[self.outcome.name]}, (", _several(kept), ")", "    ")
        lines = self.function(self.given, self.forward, result)
        ahead = _function(filled("def forward(", names, "):", "    "), f"{self.value}, and what is kept", lines)
        around = AROUND[self.library.name].format(given=", ".join(names), value=self.value).strip("\n")
        return self.file([ahead, back, around])

    def gradient(self, of: Tensor) -> str:
        """What backward returns for an argument."""
        if of.name not in self.derivation.gradients:
            return "None"
        word = self.words[self.derivation.gradients[of.name].name]
        return word if self.signals else f"dvalue * {word}"

    def saved(self) -> list[Tensor]:
        """What the backward pass reads of the forward one, and something of each open extent that it counts."""
        read = {*reads(self.backward), *self.derivation.gradients.values()}
        every = [*self.given, *dict.fromkeys(e.tensor for e in self.forward)]
        saved = [t for t in every if t in read]
        shapes = [t.shape for e in self.backward for t in (e.tensor, *e.value.tensors)]
        for extent in sorted({e for shape in shapes for e in shape if isinstance(e, str)}):
            if not any(extent in t.shape for t in (*saved, *self.signals)):
                saved.append(next(t for t in self.given if extent in t.shape))
        if not any(t.dtype == "real" for t in (*saved, *self.signals)):
            saved += [t for t in self.given if t.dtype == "real"][:1]
        return saved

    def whole(self) -> str:
        """One function from what is given to the loss and the gradients, as in a document."""
        given = (*self.given, *self.signals)
        pairs = [f'"{self.words[name]}": {self.words[t.name]}' for name, t in self.derivation.gradients.items()]
        result = filled(f"return {self.words[self.outcome.name]}, {{", pairs, "}", "    ")
        lines = self.function(given, [*self.forward, *self.backward], result)
        head = filled(f"def {self.call}(", [self.words[t.name] for t in given], "):", "    ")
        return _function(head, f"{self.value}, and its gradients by name", lines)

    @property
    def call(self) -> str:
        return "gradients_of" if self.signals else "loss_and_gradients"

    @property
    def value(self) -> str:
        return f"The value {self.words[self.outcome.name]}" if self.signals else "The loss"

    # The file

    def file(self, functions: Sequence[str]) -> str:
        parts = [*functions, self.check()]
        imports = [i for i in IMPORTS if re.search(rf"\b{i.split()[-1]}\.", "\n".join(parts))]
        helpers = [text for name, text in self.library.helpers.items() if name in self.helpers]
        return self.about() + joined(imports, helpers, parts)

    def about(self) -> str:
        """What the file is, and what each argument is."""
        words = [(self.words[t.name], t) for t in self.given]
        rows = [(w, ", ".join(map(str, t.shape)), t.name if t.name != w else "") for w, t in words]
        widths = [max(len(row[n]) for row in rows) for n in range(2)]
        table = [f"    {w:<{widths[0]}}  ({s}){' ' * (widths[1] - len(s))}  {n}".rstrip() for w, s, n in rows]
        lead = f"Back-propagation for {self.library.name}, derived by chainrule {version('chainrule')}."
        more = "The lemmas are those of the derivation, as it prints. Run this file to test the gradients."
        return "\n".join([f'"""{lead}', "", *table, "", more, '"""', "", ""])

    def check(self) -> str:
        """The test: gradients at random values against the framework's own, or against central differences."""
        kinds = self.kinds()
        extents = small_extents({x for t in self.given for x in t.shape if isinstance(x, str)}, SAMPLES)
        drawn = DRAWN[self.library.name]
        lines = list[str]()
        for tensor in self.given:
            sizes = [extents[e] if isinstance(e, str) else e for e in tensor.shape]
            shape = f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"
            kind, top = kinds[tensor]
            lines.append(f"{self.words[tensor.name]} = {drawn[kind].format(shape=shape, top=top)}")
        names = [self.words[t.name] for t in self.given]
        asked = [t for t in self.given if t.name in self.derivation.gradients]
        places = ", ".join(f'"{self.words[t.name]}": {self.given.index(t)}' for t in asked)
        shape = tuple(extents[e] if isinstance(e, str) else e for e in self.outcome.shape)
        text = CHECKS[self.library.name].format(
            values="\n".join(lines), given=f"({', '.join(names)}{',' if len(names) == 1 else ''})",
            places=f"{{{places}}}", call=self.call, shape=shape, weighted=", weight" if self.signals else "",
            weigh="weight * " if self.signals else "",
        )
        if self.library is NUMPY and not self.signals:
            text = "\n".join(line for line in text.split("\n") if not line.startswith("weight = "))
        return 'if __name__ == "__main__":\n' + indent(text.strip("\n"), "    ")

    def kinds(self) -> dict[Tensor, tuple[str, int]]:
        """How the values of the test are drawn: normal, where all that is computed is then finite, else positive."""
        extents = small_extents({x for t in self.given for x in t.shape if isinstance(x, str)}, SAMPLES)
        given = self.derivation.joint.given
        shapes = {t: tuple(extents[e] if isinstance(e, str) else e for e in t.shape) for t in given}
        whole = {t: s for t, s in shapes.items() if t.dtype == "integer"}
        found = limits(self.derivation.joint.equations, whole, extents)
        tops = {t: int(found[t][found[t] > 0].min(initial=ANY)) if t in found else ANY for t in whole}
        tops = {t: 2 if top == ANY else top for t, top in tops.items()}
        normal = all(self.finite(shapes, tops, seed) for seed in range(3))
        real = "normal" if normal else "positive"
        return {t: ("integer", tops[t]) if t in tops else (real, 0) for t in self.given}

    def finite(self, shapes: Mapping[Tensor, tuple[int, ...]], tops: Mapping[Tensor, int], seed: int) -> bool:
        """Whether all is finite that is computed of normal values."""
        rng = np.random.default_rng(seed)
        values = {t.name: rng.integers(0, tops[t], s) if t in tops else rng.normal(size=s) for t, s in shapes.items()}
        with np.errstate(all="ignore"):
            made = execute(self.derivation.joint, values)
        return all(np.isfinite(array).all() for array in made.values())


def _several(words: Sequence[str]) -> Sequence[str]:
    """The entries of a tuple: one alone has a comma behind it."""
    return [f"{words[0]},"] if len(words) == 1 else words


def _reads(lines: Sequence[str], word: str) -> bool:
    """Whether the code has this name in it."""
    return any(re.search(rf"\b{word}\b", line) for line in lines if not line.startswith("#"))


def _function(head: Sequence[str], says: str, lines: Sequence[str]) -> str:
    return "\n".join([*head, f'    """{says}."""', *(f"    {line}".rstrip() for line in lines)])
