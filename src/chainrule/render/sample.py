"""A derivation with numbers: a small one of its kind, or the reader's own, run by hand from inputs to gradients.

Where the reader gives none, the extents are cut (`derive.reduce`) and the numbers are small whole ones. A bias before a
function that is rational only at 0 is chosen so that it meets 0: σ(0) = 1/2, and the numbers stay exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import chain, count, islice, product
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from chainrule.arrays.execute import execute
from chainrule.derive.adjoint import Derivation, derive_program
from chainrule.derive.lemma import adjoint_of, one_sample
from chainrule.derive.reduce import reduced_program
from chainrule.errors import ChainruleError, DerivationError
from chainrule.ir.cost import operations
from chainrule.ir.expr import Add, Apply, Component, Constant, Delta, Expr, Multiply, Reduce, Tensor, add, is_position
from chainrule.ir.functions import CATALOGUE
from chainrule.ir.index import SAMPLES
from chainrule.ir.print import spellings
from chainrule.ir.program import Equation, Program
from chainrule.ir.walk import components, nodes, rebuild
from chainrule.semantics.entries import evaluate
from chainrule.semantics.exact import Exact, Number, plain, run
from chainrule.semantics.labelled import Array, shape_of

FEW = 2
"""What only counts things is cut to this."""
COUPLED = 4
"""Samples where they are coupled, and at least the features of one that is normalised: of three that are brought to
mean 0 and variance 1, all gradients would lie along one line."""
TURNS, PARTS = 4, (1, 2, 5, 10)
"""Choices of numbers that are tried at one size; with whole weights, and then with halves, fifths and tenths."""
FAINT = 1e-4
"""What a gradient may be, of the largest one, before it counts as nearly 0."""
SHOWN, SURE = 0.005, 0.99
"""What a gradient prints as 0.00 below, and the share beyond which there is nothing left to learn."""
NOISE = 1e-12
"""What rounding may leave of a gradient that is 0, of the largest one."""
HANDY = 8
"""Entries of a tensor up to which nothing is cut."""
LONG = 4_000
"""Operations of a line of the backward pass beyond which it is followed in full detail alone."""
MOST = 100_000
"""Operations beyond which nothing is worked by hand."""
WEIGHTS = (2, -1, -1, 1, 1, -2, 3, 1, -1, 2, 1, -1, -2, 1, 2, -1)
IMAGE = (1, 3, 2, 0, 0, 1, 3, 2, 2, 1, 0, 3, 1, 2, 0, 3, 3, 0, 2)
VECTOR = (1, 2, 0, -1, 3, 1, -2)
SIGNALS = (8, -4, 2, 6, -2, 4, -6)
SMALL = (0, -1, 1, 2, -2)
Given = Mapping[str, ArrayLike]
Place = tuple[int, ...]
Values = dict[str, dict[Place, Number]]


@dataclass(frozen=True)
class Scale:
    """A program at shapes at which numbers are tried: what is the same for all of them."""

    derivation: Derivation

    @cached_property
    def cost(self) -> int:
        return operations(self.derivation.joint.equations)

    @cached_property
    def short(self) -> list[Equation]:
        """Of the backward pass what is short and depends on nothing long."""
        long: set[Tensor] = set()
        backward: list[Equation] = []
        for equation in self.derivation.backward.equations:
            if operations([equation]) > LONG or long & set(equation.value.tensors):
                long.add(equation.tensor)
            else:
                backward.append(equation)
        return [e for e in backward if e.tensor not in long]

    @cached_property
    def _alive(self) -> dict[tuple[int, ...], dict[str, set[Place]]]:
        return {}

    def alive(self, sample: Sample) -> dict[str, set[Place]]:
        """Where the tensors of the backward pass are not 0 at some of a few points between; of the numbers of a sample
        it takes the whole ones alone, which have nothing between them."""
        whole = {
            t.name: [int(float(v)) for v in sample.values[t.name].values()]
            for t in self.derivation.joint.given if t.dtype == "integer"
        }
        key = tuple(chain(*whole.values()))
        if key in self._alive:
            return self._alive[key]
        rng = np.random.default_rng(0)
        result: dict[str, set[Place]] = {t.name: set() for t in self.derivation.backward.defined}
        for low in (0.2, -1.5, -1.5):
            given = {
                t.name: np.array(whole[t.name]).reshape(shape_of(t, sample.sizes))
                if t.name in whole else rng.uniform(low, 1.5, shape_of(t, sample.sizes))
                for t in self.derivation.joint.given
            }
            with np.errstate(all="ignore"):
                found = execute(self.derivation.joint, given)
            largest = max((float(np.nanmax(np.abs(found[name]), initial=0)) for name in result), default=0.0)
            for name, places_ in result.items():
                array = np.abs(found[name])
                places_ |= {tuple(map(int, place)) for place in np.argwhere(~(array <= NOISE * largest))}
        self._alive[key] = result
        return result


@dataclass(frozen=True)
class Sample:
    """`values` holds all tensors of the program that the numbers are for, by name and place."""

    scale: Scale
    sizes: Mapping[str, int]
    values: Values
    own: bool

    @property
    def derivation(self) -> Derivation:
        return self.scale.derivation


def sample_of(derivation: Derivation, given: Given | None, *, whole: bool = True) -> Sample | None:
    """The derivation with numbers; None where it would take too many. Unless it is to be `whole`, lines of the backward
    pass that nobody works by hand, and what depends on them, have none. Numbers that the reader does not give are such
    that no gradient vanishes that need not. Raises DerivationError for a number given to nothing, or in another shape.
    """
    chosen = {name: _array(name, value) for name, value in (given or {}).items()}
    if chosen:
        return _sample(Scale(derivation), chosen, 0, 1, whole=True)
    entries = (prod(e for e in t.shape if isinstance(e, int)) for t in derivation.joint.given)
    handy = max(entries) <= HANDY
    small: dict[tuple[int, int], Scale] = {}
    first: Sample | None = None
    left = MOST
    shapes = ((FEW, 0), (FEW, COUPLED))
    tries = product(PARTS, shapes[:1] if handy else shapes, range(TURNS))
    for parts, shape, turn in chain(tries, () if handy else product(PARTS, ((COUPLED, COUPLED),), range(TURNS))):
        if shape not in small:
            small[shape] = Scale(derivation if handy else _smaller(derivation, *shape))
        sample = _sample(small[shape], {}, turn, parts, whole=whole)
        first = first or sample
        left -= small[shape].cost
        if left < 0:
            break
        if sample is not None and not degenerate(sample):
            return sample
    return first


def _sample(scale: Scale, chosen: Mapping[str, np.ndarray], turn: int, parts: int, *, whole: bool) -> Sample | None:
    """These numbers, and for the rest those of this turn, weights in so many parts of one."""
    derivation = scale.derivation
    sizes = _sizes(derivation, chosen)
    if scale.cost > MOST:
        if chosen:
            raise DerivationError("the network is too large for numbers by hand", fix="take a smaller one")
        return None
    try:
        backward = derivation.backward.equations if whole else scale.short
        names = {name.tensor: name for fold in derivation.folds for name in fold.names}
        arrays = run((*names.values(), *backward), _forward(derivation, sizes, chosen, turn, parts), sizes)
    except ChainruleError:
        raise
    except (ValueError, ArithmeticError) as error:
        if chosen:
            raise DerivationError(f"a function has no value at these numbers: {error}", fix="give others") from None
        return None
    values = {name: dict(np.ndenumerate(array.astype(object))) for name, array in arrays.items()}
    return _settled(Sample(scale, sizes, values, bool(chosen)))


@dataclass(frozen=True)
class Trial:
    """The loss before and after a step of gradient descent by `rate`, and at one component of a parameter the quotient
    of differences to both sides, by `h`, beside the gradient."""

    rate: Fraction
    before: Number
    after: Number
    tensor: Tensor
    place: Place
    h: Fraction
    quotient: float
    gradient: Number


RATES = (Fraction(1, 2), Fraction(1, 10), Fraction(1, 100), Fraction(1, 1000))
H = Fraction(1, 1000)


def trial(sample: Sample) -> Trial | None:
    """What the gradients of the parameters are worth, by the forward pass alone; nothing where no loss is known, or no
    rate of RATES lowers it."""
    derivation, values = sample.derivation, sample.values
    gradients = {
        t: values[adjoint_of(t).name] for t in derivation.forward.parameters if adjoint_of(t).name in values
    }
    moving = [(t, place) for t, own in gradients.items() for place, v in own.items() if float(plain(v)) != 0]
    if derivation.loss is None or not moving:
        return None
    before = values[derivation.loss.name][()]
    for rate in RATES:
        moved: Values = {
            t.name: {p: float(plain(v)) - float(rate * plain(own[p])) for p, v in values[t.name].items()}
            for t, own in gradients.items()
        }
        after = _loss(sample, moved)
        if after < float(plain(before)):
            tensor, place = max(moving, key=lambda at: abs(float(plain(gradients[at[0]][at[1]]))))
            own = values[tensor.name]
            ends = (_loss(sample, {tensor.name: {**own, place: plain(own[place]) + h}}) for h in (H, -H))
            high, low = ends
            quotient = (high - low) / float(2 * H)
            if math.isfinite(quotient):
                return Trial(rate, before, after, tensor, place, H, quotient, gradients[tensor][place])
    return None


def _loss(sample: Sample, changed: Values) -> float:
    """The loss with other numbers for some parameters; NaN where it is no real number."""
    loss = sample.derivation.loss
    assert loss is not None
    state: dict[str, Array] = {}
    for tensor in sample.derivation.forward.given:
        array = np.empty(shape_of(tensor, sample.sizes), object)
        for place, value in {**sample.values[tensor.name], **changed.get(tensor.name, {})}.items():
            array[place] = value if tensor.dtype == "integer" else float(plain(value))
        state[tensor.name] = array
    try:
        return float(plain(run(sample.derivation.forward.equations, state, sample.sizes)[loss.name].item()))
    except ArithmeticError:
        return math.nan


def _gradients(sample: Sample) -> Iterator[tuple[Tensor, dict[Place, Number]]]:
    """What the backward pass computes, as far as it is followed."""
    for tensor in sample.derivation.backward.defined:
        if tensor.name in sample.values:
            yield tensor, sample.values[tensor.name]


def _size_of(values: Iterable[Number]) -> float:
    return max((abs(float(v)) for v in values), default=0.0)


def _settled(sample: Sample) -> Sample:
    """Gradients that are 0 at every point are 0 here, and not what rounding has left of them."""
    largest = max((_size_of(own.values()) for _, own in _gradients(sample)), default=0.0)
    noise = {
        (t.name, place) for t, own in _gradients(sample) for place, v in own.items()
        if isinstance(plain(v), float) and 0 < abs(float(v)) <= NOISE * largest
    }
    if not noise:
        return sample
    alive = sample.scale.alive(sample)
    values = {
        name: {p: 0.0 if (name, p) in noise and p not in alive[name] else v for p, v in own.items()}
        for name, own in sample.values.items()
    }
    return replace(sample, values=values)


def degenerate(sample: Sample) -> bool:
    """Whether a gradient is 0 at these numbers, or nearly, that is not 0 everywhere; whether most would print as 0.00,
    or a softmax leaves no doubt."""
    sizes = {t.name: _size_of(own.values()) for t, own in _gradients(sample)}
    faint = [name for name, size_ in sizes.items() if size_ <= FAINT * max(sizes.values())]
    small = [name for name, size_ in sizes.items() if size_ < SHOWN]
    if _saturated(sample):
        return True
    if not faint and 2 * len(small) <= len(sizes):
        return False
    alive = sample.scale.alive(sample)
    return any(map(alive.__getitem__, faint)) or 2 * sum(bool(alive[name]) for name in small) > len(sizes)


def _saturated(sample: Sample) -> bool:
    """Whether most shares of a softmax are next to 0 or 1."""
    for equation in sample.derivation.forward.equations:
        softmax = isinstance(equation.value, Apply) and equation.value.function == "exp"
        if softmax and any(isinstance(n, Reduce) and n.kind == "logsumexp" for n in nodes(equation.value)):
            values = [float(v) for v in sample.values[equation.tensor.name].values()]
            if 2 * sum(min(v, 1 - v) < 1 - SURE for v in values) > len(values) > 1:
                return True
    return False


def _array(name: str, value: ArrayLike) -> np.ndarray:
    """The numbers as an array; a text among them is a fraction."""
    try:
        array = np.asarray(value)
        exact = [_exact(entry) for entry in array.ravel()]
    except (ValueError, ZeroDivisionError, OverflowError):
        problem = f"the numbers for {name} are no array of finite numbers"
        raise DerivationError(problem, fix="give nested lists") from None
    result = np.empty(array.shape, dtype=object)
    result.ravel()[:] = exact
    return result


def _smaller(derivation: Derivation, few: int, averaged: int) -> Derivation:
    """The derivation of the same program at smaller shapes; itself where there are none."""
    forward = derivation.forward
    computed = (e for e in forward.equations if not is_position(e.tensor))
    program = replace(forward, equations=tuple(computed))
    small = reduced_program(program, few, averaged=averaged)
    if small is None:
        return derivation
    pairs = zip(program.equations, small.equations, strict=True)
    small = replace(small, equations=tuple(Equation(b.target, _averaged(a.value, b.value)) for a, b in pairs))
    by_name = {t.name: t for t in (*small.given, *small.defined)}
    loss = None if derivation.loss is None else by_name[derivation.loss.name]
    wrt = [by_name[name] for name in derivation.gradients]
    return derive_program(small, loss, wrt, layers=derivation.layers, letters=derivation.letters)


def _averaged(old: Expr, new: Expr) -> Expr:
    """A mean over fewer has a smaller divisor. `new` is `old` at other extents; depth is that of one equation."""
    parts = [_averaged(a, b) for a, b in zip(old.parts, new.parts, strict=True)]
    if isinstance(old, Multiply):
        for one, other in zip(old.factors, parts, strict=True):
            if isinstance(one, Reduce) and isinstance(other, Reduce) and one.kind == "sum":
                before, after = (prod(i.extent for i in r.indices if isinstance(i.extent, int)) for r in (one, other))
                for place, factor in enumerate(parts):
                    match factor:
                        case Constant(value=Fraction() as c) if before != after and c.denominator % before == 0:
                            parts[place] = Constant(c * before / after)
                        case _:
                            pass
    return rebuild(new, tuple(parts))


def _sizes(derivation: Derivation, chosen: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Numbers for the named extents: those of the arrays, else one sample; more where samples are coupled: two that
    are brought to mean 0 and variance 1 are ±1, and their gradients vanish."""
    sizes: dict[str, int] = {}
    for tensor in derivation.joint.given:
        array = chosen.get(tensor.name)
        for axis, extent in enumerate(tensor.shape):
            if isinstance(extent, str) and array is not None and array.ndim == len(tensor.shape):
                sizes.setdefault(extent, array.shape[axis])
    coupled = bool(derivation.coupling.first) or any(
        SAMPLES in t.shape and one_sample(e) is None and e.tensor.shape
        for e in derivation.forward.equations for t in e.value.tensors
    )
    for tensor in derivation.joint.given:
        for extent in tensor.shape:
            if isinstance(extent, str):
                sizes.setdefault(extent, (COUPLED if coupled else 1) if extent == SAMPLES else FEW)
    return {SAMPLES: 1, **sizes}


def _forward(
    derivation: Derivation, sizes: Mapping[str, int], chosen: Mapping[str, np.ndarray], turn: int, parts: int
) -> dict[str, Array]:
    """The numbers given, for the rest small whole ones, and what the forward pass makes of them. Every turn begins
    elsewhere in the rows of numbers, and weights are whole or in so many `parts` of one."""
    joint = derivation.joint
    written = spellings(joint.given)
    known = {written.get(t, t).name: t for t in joint.given}
    for name in chosen:
        if name not in known:
            raise DerivationError(f"nothing given is called {name!r}", fix="one of " + ", ".join(known))
    chosen = {known[name].name: array for name, array in chosen.items()}
    values: dict[str, Array] = {}
    weights = count(turn)
    for tensor in joint.given:
        if tensor.name in chosen:
            values[tensor.name] = _as_given(tensor, chosen[tensor.name], sizes)
        else:
            shape = shape_of(tensor, sizes)
            numbers = islice(_defaults(tensor, derivation, weights, turn, parts), prod(shape))
            values[tensor.name] = np.array(list(numbers), object).reshape(shape)
    free = {t for t in derivation.forward.parameters if t.name not in chosen}
    return _balanced(derivation.forward, free, values, sizes)


def _as_given(tensor: Tensor, array: np.ndarray, sizes: Mapping[str, int]) -> Array:
    shape = shape_of(tensor, sizes)
    if array.ndim == len(shape) - 1 and SAMPLES in tensor.shape and sizes[SAMPLES] == 1:
        array = np.expand_dims(array, tensor.shape.index(SAMPLES))
    if array.shape != shape:
        raise DerivationError(f"{tensor.name} has shape {shape}", about=array.shape, fix="give numbers in that shape")
    return array


def _exact(value: object) -> Number:
    """A float as the fraction that it is, where that is short."""
    text = str(value)
    if isinstance(value, Fraction) or "/" in text:
        return Fraction(text)
    number = Fraction(float(text)).limit_denominator(1000)
    return number if float(number) == float(text) else float(text)


def _defaults(
    tensor: Tensor, derivation: Derivation, weights: Iterator[int], turn: int, parts: int
) -> Iterator[Number]:
    forward = derivation.forward
    rank = len([e for e in tensor.shape if e != SAMPLES])
    if tensor.dtype == "integer":
        top = range_of(forward, tensor)
        return (n % top for n in count())
    if tensor.name == "target":
        classes = tensor.shape[-1] if rank else 1
        return (int((n + 1) % int(classes) == 0) if isinstance(classes, int) else 1 for n in count())
    if tensor in derivation.backward.inputs and tensor not in (*forward.given, *forward.defined):
        return _cycle(SIGNALS)
    if tensor in forward.parameters and rank > 1:
        shift = 4 * next(weights)
        return _cycle(WEIGHTS, shift, parts)
    if tensor in forward.parameters:
        return _cycle(SMALL, 0, parts) if _added(forward, tensor) else _cycle(VECTOR[:2])
    if tensor in forward.random:
        return _cycle((1, 0, 1))
    if any(s.tensor == tensor for s in forward.states):
        return _cycle((1,))
    return _cycle(IMAGE if rank > 1 else VECTOR, turn)


def _cycle(numbers: Sequence[int], start: int = 0, parts: int = 1) -> Iterator[Number]:
    entries = (numbers[n % len(numbers)] for n in count(start))
    return entries if parts == 1 else (Fraction(entry, parts) for entry in entries)


def range_of(program: Program, tensor: Tensor) -> int:
    """How many values an integer tensor takes: as many as each index that it is compared with."""
    extents = [
        node.left.plain.extent
        for node in nodes(*(e.value for e in program.equations))
        if isinstance(node, Delta) and isinstance(node.right, Component) and node.right.tensor == tensor
        if node.left.plain is not None
    ]
    return min((e for e in extents if isinstance(e, int)), default=FEW)


def _added(program: Program, tensor: Tensor) -> bool:
    """Whether a tensor is only ever a term of a sum: a bias."""
    reads = [e for e in program.equations if tensor in e.value.tensors]
    return bool(reads) and all(_term(e, tensor) is not None for e in reads)


def _term(equation: Equation, tensor: Tensor) -> Component | None:
    if not isinstance(equation.value, Add):
        return None
    own = [t for t in equation.value.terms if isinstance(t, Component) and t.tensor == tensor]
    elsewhere = sum(c.tensor == tensor for c in components(equation.value))
    return own[0] if len(own) == elsewhere == 1 else None


def _balanced(
    program: Program, free: set[Tensor], state: dict[str, Array], sizes: Mapping[str, int]
) -> dict[str, Array]:
    """The forward pass, with biases that make the argument of a function 0 where one bias can."""
    last = {equation.tensor: equation for equation in program.equations}
    pieces: dict[Tensor, list[Equation]] = {}
    for equation in program.equations:
        single = {i for i in equation.indices if i.is_sample and sizes[SAMPLES] == 1}
        for tensor in free & set(equation.value.tensors):
            term = _term(equation, tensor)
            if term is None or not _transcendental(program, equation.tensor):
                continue
            own = [s.plain for s in term.subscripts]
            if {*own} | single != {*equation.indices} or [i.extent for i in own if i] != [*tensor.shape]:
                continue
            rest = evaluate(Exact(sizes), _without(equation.value, term), state, equation.indices)
            for place, value in np.ndenumerate(rest):
                at = dict(zip(equation.indices, place, strict=True))
                if not isinstance(plain(value), float):
                    state[tensor.name][tuple(at[i] for i in own if i)] = -plain(value)
        pieces.setdefault(equation.tensor, []).append(equation)
        if last[equation.tensor] is equation:
            state = run(pieces[equation.tensor], state, sizes)
    return state


def _without(value: Expr, term: Component) -> Expr:
    assert isinstance(value, Add)
    return add(t for t in value.terms if t is not term)


def _transcendental(program: Program, tensor: Tensor) -> bool:
    """Whether a function that is rational only at 0 reads the tensor."""
    for equation in program.equations:
        if tensor in equation.value.tensors:
            for node in nodes(equation.value):
                if (isinstance(node, Apply) and CATALOGUE[node.function].zero is not None) or (
                    isinstance(node, Reduce) and node.kind == "logsumexp"
                ):
                    return True
    return False
