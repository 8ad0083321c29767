"""Recurrent layers of frameworks, unrolled: as many steps as the sequence has places, each with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.interop.arithmetic import applied, total
from chainrule.interop.arranged import concat, pieces, unbound
from chainrule.interop.graph import Graph
from chainrule.interop.layered import dropout, linear
from chainrule.interop.views import SAMPLE, View, inserted, permuted, selected, size_of

Step = Callable[[Graph, View, View, Sequence[View]], list[View]]
"""From what the input gives at a place, what the state before gives, and the states before to those after."""


def _gates(g: Graph, x: View, count: int) -> list[View]:
    return pieces(g, x, 1, [size_of(x.axes[1])[0] // count] * count)


def _elman(function: str) -> Step:
    return lambda g, x, h, _: [applied(g, f"{function}({{0}} + {{1}})", x, h)]


def _gated(g: Graph, x: View, h: View, states: Sequence[View]) -> list[View]:
    """Cho et al., EMNLP 2014, with the reset gate behind the matrix."""
    (reset, update, new), (reset_h, update_h, new_h) = _gates(g, x, 3), _gates(g, h, 3)
    kept = applied(g, "sigmoid({0} + {1})", update, update_h)
    made = applied(g, "tanh({0} + sigmoid({1} + {2})*{3})", new, reset, reset_h, new_h)
    return [applied(g, "(1 - {0})*{1} + {0}*{2}", kept, made, states[0])]


def _long(g: Graph, x: View, h: View, states: Sequence[View]) -> list[View]:
    """Hochreiter & Schmidhuber, Neural Computation 9 (1997), with the forget gate of Gers et al. (2000)."""
    taken, kept, new, shown = _gates(g, total(g, x, h), 4)
    cell = applied(g, "sigmoid({0})*{1} + sigmoid({2})*tanh({3})", kept, states[1], taken, new)
    return [applied(g, "sigmoid({0})*tanh({1})", shown, cell), cell]


STEPS: dict[str, Step] = {"rnn_tanh": _elman("tanh"), "rnn_relu": _elman("relu"), "gru": _gated, "lstm": _long}


def unrolled(
    g: Graph, kind: str, x: View, states: Sequence[View], weights: Sequence[View], *, biases: bool, layers: int,
    rate: float, both: bool, first: bool,
) -> list[View]:
    """The outputs of the last layer at all places, and each state after the last step: (layers·directions, N, units).
    Samples are the `first` axis, or the second; `both` directions stand beside each other."""
    x = x if first else permuted(x, [1, 0, 2])
    if x.axes[0] != (SAMPLE,):
        g.refuse("a recurrent layer over the samples", "keep the samples an axis of their own")
    each, ways = 4 if biases else 2, 1 + both
    if len(weights) != each * layers * ways:
        g.refuse(f"a {kind} with projections", "leave proj_size out")
    ends: list[list[View]] = [[] for _ in states]
    for layer in range(layers):
        x = dropout(g, x, rate) if layer else x
        outputs: list[View] = []
        for way in range(ways):
            number = layer * ways + way
            into, back, *shifts = weights[number * each : (number + 1) * each]
            into_shift, shift = shifts or (None, None)
            given = unbound(g, linear(g, x, into, into_shift), 1)
            now = [selected(g.single(state, 0), 0, number) for state in states]
            made: list[View] = []
            for place in given[::-1] if way else given:
                now = STEPS[kind](g, place, linear(g, now[0], back, shift), now)
                made.append(inserted(now[0], 1))
            outputs.append(concat(g, made[::-1] if way else made, 1))
            for end, state in zip(ends, now, strict=True):
                end.append(inserted(state, 0))
        x = concat(g, outputs, 2)
    return [x if first else permuted(x, [1, 0, 2]), *(concat(g, end, 0) for end in ends)]
