"""Steps scaled by the size of past gradients, component by component, as equations.

Adagrad:

    squares_next[i, j] = squares[i, j] + gradient[i, j]**2
    value_next[i, j] = value[i, j] - rate*gradient[i, j]*(squares_next[i, j] + epsilon)**(-1/2)

RMSProp:

    square_next[i, j] = decay*square[i, j] + (1 - decay)*gradient[i, j]**2
    value_next[i, j] = value[i, j] - rate*gradient[i, j]*(square_next[i, j] + epsilon)**(-1/2)

and with a momentum, the rate inside the velocity:

    velocity_next[i, j] = momentum*velocity[i, j] + rate*gradient[i, j]*(square_next[i, j] + epsilon)**(-1/2)
    value_next[i, j] = value[i, j] - velocity_next[i, j]

Sources: Duchi, Hazan, Singer, JMLR 12, 2011, figure 1 (the diagonal of G_t, which starts at δI there); Tieleman,
Hinton, Coursera Neural Networks for Machine Learning, 2012, lecture 6.5, slide 29; the velocity Graves,
arXiv:1308.0850, 2013, equations 38 to 45, without the mean that it takes off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.optim.optimizer import Optimizer, Rate, axes, check_not_negative, check_positive, check_share, rest


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """`initial` ≥ 0 is what the sum of squares starts with. The rest is as for `Optimizer`."""

    rate: Rate = 0.01
    initial: float = 0.1
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "initial", "0.1")
        check_positive(self, "epsilon", "1e-7")

    @property
    def kept(self) -> Mapping[str, float]:
        return {"squares": self.initial}

    def equations(self, rank: int) -> str:
        i = axes(rank)
        return f"""
            squares_next{i} = squares{i} + gradient{i}**2
            value_next{i} = value{i} - rate*gradient{i}*(squares_next{i} + {self.epsilon})**(-1/2)
        """


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """0 ≤ `decay` < 1 is the weight of the past, 0 ≤ `momentum` < 1. The rest is as for `Optimizer`."""

    rate: Rate = 1e-3
    decay: float = 0.9
    epsilon: float = 1e-7
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self, "decay", "0.9")
        check_positive(self, "epsilon", "1e-7")
        check_share(self, "momentum", "0.9")

    @property
    def kept(self) -> Mapping[str, float]:
        return {"square": 0.0, "velocity": 0.0} if self.momentum else {"square": 0.0}

    def equations(self, rank: int) -> str:
        i = axes(rank)
        step = f"rate*gradient{i}*(square_next{i} + {self.epsilon})**(-1/2)"
        square = f"square_next{i} = {self.decay}*square{i} + {rest(self.decay)}*gradient{i}**2"
        if not self.momentum:
            return f"{square}\nvalue_next{i} = value{i} - {step}"
        return f"""
            {square}
            velocity_next{i} = {self.momentum}*velocity{i} + {step}
            value_next{i} = value{i} - velocity_next{i}
        """
