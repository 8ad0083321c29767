"""Adam, and Adam with decoupled weight decay, as equations.

    weight1_next = beta1*weight1 + 1 - beta1                     one for all parameters, 0 at the start
    weight2_next = beta2*weight2 + 1 - beta2
    moment1_next[i, j] = beta1*moment1[i, j] + (1 - beta1)*gradient[i, j]
    moment2_next[i, j] = beta2*moment2[i, j] + (1 - beta2)*gradient[i, j]**2
    corrected1[i, j] = moment1_next[i, j]/weight1_next
    corrected2[i, j] = moment2_next[i, j]/weight2_next
    value_next[i, j] = value[i, j] - rate*corrected1[i, j]/(corrected2[i, j]**(1/2) + epsilon)

and AdamW, for parameters of two or more axes:

    value_next[i, j] = value[i, j] - rate*(corrected1[i, j]/(corrected2[i, j]**(1/2) + epsilon)
                                           + weight_decay*value[i, j])

The weights are what the gradients so far count for in the moments, 1 − β₁ᵗ and 1 − β₂ᵗ: as running means like the
moments they keep their precision in float32, where 1 − 0.999ᵗ would lose four digits in the first steps.

Sources: Kingma, Ba, ICLR 2015, algorithm 1 (m, v, m̂, v̂); Loshchilov, Hutter, ICLR 2019, algorithm 2,
line 12 with λ written as rate·weight_decay, as frameworks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.optim.optimizer import Optimizer, Rate, axes, check_not_negative, check_positive, check_share, rest


@dataclass(frozen=True)
class Adam(Optimizer):
    """0 ≤ `beta1`, `beta2` < 1 are the weights of the past. The rest is as for `Optimizer`."""

    rate: Rate = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self, "beta1", "0.9")
        check_share(self, "beta2", "0.999")
        check_positive(self, "epsilon", "1e-8")

    @property
    def kept(self) -> Mapping[str, float]:
        return {"moment1": 0.0, "moment2": 0.0}

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"weight1": 0.0, "weight2": 0.0}

    def shared(self) -> str:
        return (
            f"weight1_next = {self.beta1}*weight1 + {rest(self.beta1)}\n"
            f"weight2_next = {self.beta2}*weight2 + {rest(self.beta2)}"
        )

    def equations(self, rank: int) -> str:
        i = axes(rank)
        return f"{self._moments(i)}\nvalue_next{i} = value{i} - rate*{self._direction(i)}"

    def _moments(self, i: str) -> str:
        return f"""
            moment1_next{i} = {self.beta1}*moment1{i} + {rest(self.beta1)}*gradient{i}
            moment2_next{i} = {self.beta2}*moment2{i} + {rest(self.beta2)}*gradient{i}**2
            corrected1{i} = moment1_next{i}/weight1_next
            corrected2{i} = moment2_next{i}/weight2_next
        """

    def _direction(self, i: str) -> str:
        return f"corrected1{i}/(corrected2{i}**(1/2) + {self.epsilon})"


@dataclass(frozen=True)
class AdamW(Adam):
    """`weight_decay` ≥ 0 draws parameters of two or more axes, as the model's l2 does, towards 0. The rest is as for
    `Adam`."""

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "weight_decay", "0.01")

    def equations(self, rank: int) -> str:
        if rank < 2 or not self.weight_decay:
            return super().equations(rank)
        i = axes(rank)
        step = f"({self._direction(i)} + {self.weight_decay}*value{i})"
        return f"{self._moments(i)}\nvalue_next{i} = value{i} - rate*{step}"
