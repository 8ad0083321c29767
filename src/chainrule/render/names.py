"""What a tensor is called in formulas.

A tensor of layer r is its letter with [r], counted over the layers that have parameters: "dense1.W" is
W^[1]. The error signal of a layer's linear output is δ^[r]; any other gradient is written ∂ℓ/∂x. Within
a lemma the numbers are left out where they tell nothing, and the one error signal is δ.

No tensor has a letter or word that the document itself uses (δ, N, pad, ...) or that another tensor takes as the
capital of its batch: it gets a tilde. "x_1" is x with a small 1 at its foot, other names with underscores stand
upright.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from chainrule.derive.adjoint import Derivation
from chainrule.derive.compose import linear
from chainrule.derive.fold import Fold, is_root
from chainrule.derive.lemma import adjoint_of
from chainrule.ir.expr import LOSS, SAMPLE_LOSS, Add, Apply, Component, Pad, Tensor, is_position, origin
from chainrule.ir.functions import CATALOGUE
from chainrule.ir.index import SAMPLES, Index
from chainrule.ir.print import spelled
from chainrule.ir.walk import components, nodes

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "epsilon": "ε", "lambda": "λ", "mu": "μ", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "theta": "θ", "phi": "φ", "omega": "ω", "eta": "η",
}
GIVEN = {
    "input": "x", "target": "t", "prediction": "p", "weight": "ω", "class_weights": "ρ",
    "positive_weight": "ρ",
}
WORDS = {
    "diag": "diag", "onehot": "onehot", "onehot_rows": "onehot", "softmax": "softmax", "softmax_rows": "softmax",
    "max": "colmax", "max_rows": "rowmax", "max_all": "max",
    "argmax": "colargmax", "argmax_rows": "rowargmax", "argmax_all": "argmax",
}
"""Operators that are written as functions of matrices."""
RESERVED = frozenset({
    *"ℓ𝓛NnδΔ∇∂σΣπ", *WORDS.values(), "vec", "sum", "pad", "crop", "maxpool", "argmaxpool", "unpool",
    *(function.symbol or name for name, function in CATALOGUE.items()),
})
"""Letters and words of the document's own: the losses, samples, error signals, signs and functions."""
FUNCTIONS = ("f", "q", "r", "φ", "ω", "f\u0302")
"""The arbitrary function of a derivation without a loss: the first that no tensor is written as."""
POSITIONS = ("m*", "r*", "s*", "v*", "w*")
"""The places of the maxima of one equation."""
LAYER = "r"
"""The number of a layer, where several are spoken of at once."""
TILDE, HAT = "\u0303", "\u0302"
FOOT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A letter and the layer in square brackets above it, if any."""

    stem: str
    layer: str = ""


@dataclass(frozen=True)
class Names:
    """`symbols` by tensor name; `adjoints` from a gradient's name to the tensor's and the number of the
    share; `signals` the gradients written δ. The other fields make a view: `batch` for capital letters
    and 𝓛, `bare` tensors without their layer, `base` the number that is written r, `bounded` the indices
    whose extents another formula of the lemma shows. `numbers` are those of layers, by tensor. `function` is the
    letter of the arbitrary function, `linear` the gradients by linear outputs, which are δ within a lemma, `constants`
    the numbers that have letters. `pads` are what a tensor is read as outside its range, where that is not one thing
    alone."""

    symbols: Mapping[str, Symbol]
    adjoints: Mapping[str, tuple[str, str]]
    signals: Mapping[str, Symbol]
    given: bool
    batch: bool = False
    bare: frozenset[str] = frozenset()
    base: int | None = None
    function: str = "f"
    bounded: frozenset[Index] = frozenset()
    numbers: Mapping[str, int] = field(default_factory=dict[str, int])
    pads: Mapping[str, Sequence[Pad]] = field(default_factory=dict[str, Sequence[Pad]])
    jacobians: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    linear: frozenset[str] = frozenset()
    constants: Mapping[Fraction, str] = field(default_factory=dict[Fraction, str])

    @property
    def e(self) -> bool:
        """Whether e is Euler's number, and no tensor."""
        return all(symbol.stem != "e" for symbol in self.symbols.values())

    @property
    def loss(self) -> Symbol:
        """f where the derivation starts from a given gradient; else 𝓛 of a batch, ℓ of one sample."""
        return Symbol(self.function if self.given else "𝓛" if self.batch else "ℓ")

    def symbol(self, tensor: Tensor) -> Symbol:
        if tensor == LOSS:
            return self.loss
        symbol = self.symbols[tensor.name]
        return Symbol(symbol.stem) if tensor.name in self.bare else self._relative(symbol)

    def _relative(self, symbol: Symbol) -> Symbol:
        if self.base is None or not symbol.layer.isdigit():
            return symbol
        shift = int(symbol.layer) - self.base
        return Symbol(symbol.stem, f"{LAYER}{'+' if shift > 0 else '−'}{abs(shift)}" if shift else LAYER)

    def signal(self, tensor: Tensor) -> Symbol | None:
        """The δ (Δ of a batch of vectors) that a gradient tensor is written as, if it is."""
        symbol = self.signals.get(tensor.name)
        return self._relative(symbol) if symbol else None

    def bars(self, tensor: Tensor, pad: Pad | None) -> int:
        """How many bars stand above the letter of a padded read: one for each thing that the tensor is read as outside
        its range, in their order."""
        known = self.pads.get(tensor.name, (pad,))
        return 0 if pad is None else known.index(pad) + 1

    def gradient(self, tensor: Tensor) -> tuple[Symbol, str] | None:
        """The symbol of the tensor that this one is the gradient of, and the number of the share."""
        known = self.adjoints.get(tensor.name)
        if known is None:
            return None
        name, share = known
        return self.symbol(LOSS if name == LOSS.name else Tensor(name, ())), share

    def has_upper(self, component: Component) -> bool:
        if self.signal(component.tensor) is None and self.gradient(component.tensor) is not None:
            return True
        symbol = self.signal(component.tensor) or self.symbol(component.tensor)
        return bool(symbol.layer) or SAMPLES in component.tensor.shape or symbol.stem.endswith("*")

    def matrix_layer(self, tensor: Tensor) -> bool:
        """Whether the tensor's symbol in a matrix form has a layer above it."""
        symbol = self.signal(tensor)
        if symbol is None:
            symbol = None if self.gradient(tensor) else self.symbol(tensor)
        return symbol is not None and bool(symbol.layer)

    def matrix_symbol(self, tensor: Tensor, symbol: Symbol) -> Symbol:
        """A batch of vectors, its samples in rows, is a capital letter."""
        capital = _capital(tensor, symbol.stem) if self.batch else None
        return Symbol(capital, symbol.layer) if capital else symbol

    def of_batch(self) -> Names:
        """𝓛, Δ with its 1/N inside, and capital letters in matrix forms."""
        signals = {n: Symbol("Δ", s.layer) if s.stem == "δ" else s for n, s in self.signals.items()}
        return replace(self, batch=True, signals=signals)

    def relative(self, base: int) -> Names:
        """Layer `base` is written ℓ, the one after it ℓ+1."""
        return replace(self, base=base)

    def local(self, involved: Iterable[Tensor], signal: Tensor) -> Names:
        """Within one lemma: no layers where the letters differ, and `signal` is δ where it is that of a linear
        output."""
        own = list(dict.fromkeys(t.name for t in involved if t.name in self.symbols))
        stems = [self.symbols[n].stem for n in own]
        bare = frozenset(n for n, s in zip(own, stems, strict=True) if stems.count(s) == 1)
        known = signal.name in self.linear or signal.name in self.signals
        of = Tensor(self.adjoints[signal.name][0], ())
        signals = {signal.name: Symbol("δ")} if known and not self.is_loss(of) else {}
        return replace(self, bare=bare, signals=signals)

    def is_loss(self, tensor: Tensor) -> bool:
        """Whether this is the loss of a batch, or that of each sample."""
        return tensor == LOSS or (tensor.name in self.symbols and self.symbols[tensor.name].stem == "ℓ")

    def layer(self, tensor: Tensor) -> int | None:
        """The number of the layer that a tensor belongs to."""
        symbol = self.symbols.get(tensor.name)
        own = int(symbol.layer) if symbol and symbol.layer.isdigit() else None
        return self.numbers.get(tensor.name, own)


def names_of(derivation: Derivation) -> Names:
    """The names for a derivation: every tensor has one, and no two have the same."""
    program = derivation.forward
    numbers = _numbers(derivation)
    symbols: dict[str, Symbol] = {}
    used: set[Symbol] = set()
    known = [t for t in dict.fromkeys((*program.given, *program.defined)) if t != LOSS]
    firsts = {t: next(iter(_choices(t, derivation, numbers))).stem for t in known}
    capitals = {c for t, stem in firsts.items() if (c := _capital(t, stem)) and c != stem}
    for tensor in dict.fromkeys((*program.given, *program.defined)):
        if tensor == LOSS:
            continue
        choices = list(_choices(tensor, derivation, numbers))
        free = (s for s in choices if s not in used and s.stem not in RESERVED | capitals)
        chosen = choices[0] if tensor == SAMPLE_LOSS else next(free, None) or _marked(choices[0], used)
        symbols[tensor.name] = chosen
        used.add(chosen)
    for fold in derivation.folds:
        for tensor, symbol in _named(fold, symbols, _sigmoid(derivation)):
            if tensor.name not in symbols:
                symbols[tensor.name] = symbol if symbol not in used else _marked(symbol, used)
                used.add(symbols[tensor.name])
    adjoints: dict[str, tuple[str, str]] = {}
    for tensor in (*program.given, *program.defined):
        adjoints[adjoint_of(tensor).name] = (tensor.name, "")
    for part in derivation.parts.values():
        for number, use in enumerate(part.uses, 1):
            if use.contribution != adjoint_of(part.tensor):
                adjoints[use.contribution.name] = (part.tensor.name, str(number))
    signals: dict[str, Symbol] = {}
    plain = {name: Symbol(symbol.stem) for name, symbol in symbols.items()}
    one_layer = bool(derivation.layers) and derivation.loss is None and max(numbers.values(), default=0) < 2
    alone = one_layer and len(set(plain.values())) == len(plain)
    symbols = plain if alone else symbols  # of one layer alone no letter needs its number
    weights = [t for t in program.given if SAMPLES not in t.shape]
    lone = not derivation.layers and len(program.equations) == 1  # what it is given may be its parameters
    linear_outputs = (e.tensor for e in program.equations if e.tensor.shape and linear(e.value, weights))
    for equation in program.equations:
        symbol = symbols.get(equation.tensor.name)
        weighted = bool(equation.tensor.shape) and linear(equation.value, weights if lone else program.parameters)
        signal = Symbol("δ", symbol.layer) if symbol and (symbol.layer or alone or lone) else None
        if weighted and signal and signal not in signals.values() and signal not in used:
            signals[adjoint_of(equation.tensor).name] = signal
    for equation in derivation.backward.equations:
        for component in components(equation.value):
            name = component.tensor.name
            if component.pad is not None and name in adjoints and name not in signals:
                # ∂ℓ/∂y read outside its range has no good form: it is δ̄.
                own = symbols[adjoints[name][0]]
                single = Symbol("δ") not in signals.values() and not own.layer
                signals[name] = Symbol("δ", "" if single else ",".join(filter(None, (own.stem, own.layer))))
    taken = {s.stem for s in symbols.values()} | capitals
    function = next((f for f in FUNCTIONS if f not in taken), "f")
    owners = {t.name: derivation.layers.get(origin(t).name) for t in known}
    by_tensor = {name: numbers[label] for name, label in owners.items() if label in numbers}
    return Names(
        symbols, adjoints, signals, derivation.loss is None, function=function, numbers=by_tensor,
        pads=_pads(derivation), linear=frozenset(adjoint_of(tensor).name for tensor in linear_outputs),
        constants={Fraction(n): own for n, own in derivation.letters.items() if n[:1].isdigit() and own not in taken},
    )


def _pads(derivation: Derivation) -> dict[str, list[Pad]]:
    """What each tensor is read as outside its range anywhere in the derivation, 0 first, where that is several
    things."""
    found: dict[str, set[Pad]] = {}
    for component in components(*(e.value for e in derivation.forward.equations)):
        if component.pad is not None:
            found.setdefault(component.tensor.name, set()).add(component.pad)
    other = {name for name, pads in found.items() if pads != {0}}  # beside which rules read as 0
    for use in derivation.uses if other else ():
        for component in components(*(step.after for step in use.lemma.all_steps)):
            tensor = use.mapping.get(component.tensor, component.tensor)
            if component.pad is not None and tensor.name in other:
                found[tensor.name].add(component.pad)
    several = {name: pads for name, pads in found.items() if len(pads) > 1}
    return {name: sorted(pads, key=lambda pad: (pad != 0, str(pad))) for name, pads in several.items()}


def _named(fold: Fold, symbols: Mapping[str, Symbol], sigmoid: bool) -> Iterable[tuple[Tensor, Symbol]]:
    """The values that a fold names: a root σ of a variance, ρ of a mean square; x̂ for x by it."""
    layer = symbols[fold.sinks[0].tensor.name].layer
    centred = any(Add in name.value.types for name in fold.names[1:])
    for name in fold.names:
        if is_root(name.tensor):
            yield name.tensor, Symbol(("s" if sigmoid else "σ") if centred else "ρ", layer)
        else:
            yield name.tensor, Symbol(symbols[fold.target.tensor.name].stem + HAT, layer)


def _sigmoid(derivation: Derivation) -> bool:
    """Whether σ is taken by the function."""
    values = (e.value for e in derivation.forward.equations if Apply in e.value.types)
    return any(isinstance(node, Apply) and node.function == "sigmoid" for value in values for node in nodes(value))


def _capital(tensor: Tensor, stem: str) -> str | None:
    """The letter of a batch of vectors."""
    batch = SAMPLES in tensor.shape and len(tensor.shape) > 1
    letter = stem.rstrip(TILDE + HAT)
    fits = len(letter) == 1 and letter.isascii() and letter not in RESERVED
    return letter.upper() + stem[1:] if batch and fits else None


def _marked(symbol: Symbol, used: set[Symbol]) -> Symbol:
    """The symbol with as many tildes as make it new."""
    while symbol in used or not symbol.stem.endswith(TILDE):
        symbol = Symbol(symbol.stem + TILDE, symbol.layer)
    return symbol


def _numbers(derivation: Derivation) -> dict[str, int]:
    """Layers by number: those with parameters count, the others take the number of the one before."""
    forward, layers = derivation.forward, derivation.layers
    equations = [(layers.get(origin(e.tensor).name), e) for e in forward.equations]
    weighted = {label for label, e in equations if any(t in forward.parameters for t in e.value.tensors)}
    numbers: dict[str, int] = {}
    count = 0
    for label, _ in equations:
        if label is not None and label not in numbers:
            count += label in weighted
            numbers[label] = count
    return numbers


def _choices(tensor: Tensor, derivation: Derivation, numbers: Mapping[str, int]) -> Iterable[Symbol]:
    """Symbols for a tensor, the best first."""
    owner = origin(tensor).name
    stem, layer = owner, ""
    label = derivation.layers.get(owner)
    if label is not None:
        stem, layer = owner.removeprefix(f"{label}."), str(numbers.get(label) or "")
        if repeated := re.fullmatch(r"(.+?)_(\d+)", stem):
            stem, layer = repeated[1], ",".join(filter(None, (layer, repeated[2])))
    elif found := re.fullmatch(r"([A-Za-z]+)(\d+)", owner):
        stem, layer = found[1], found[2]
    letter = "ℓ" if tensor == SAMPLE_LOSS else derivation.letters.get(f"{label}.{stem}") or _letter(stem)
    if is_position(tensor):
        places = [t for t in derivation.forward.defined if is_position(t) and origin(t).name == owner]
        number = places.index(tensor)
        letter = POSITIONS[number] if number < len(POSITIONS) else "m" + str(number).translate(FOOT) + "*"
    yield Symbol(letter, layer)
    if label is not None:
        yield Symbol(letter + TILDE, layer)
        yield Symbol(letter, label)
    yield Symbol(letter, owner)
    yield Symbol(spelled(tensor))


def _letter(name: str) -> str:
    """A letter for a word; a number after its underscore stands at its foot."""
    if indexed := re.fullmatch(r"([A-Za-z]+)_(0|[1-9]\d*)", name):
        return _letter(indexed[1]) + indexed[2].translate(FOOT)
    return GIVEN.get(name) or GREEK.get(name) or name
