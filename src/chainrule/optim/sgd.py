"""Stochastic gradient descent, as equations.

    velocity_next[i, j] = momentum*velocity[i, j] + gradient[i, j]
    value_next[i, j] = value[i, j] - rate*velocity_next[i, j]

Nesterov's step looks ahead along the velocity:

    value_next[i, j] = value[i, j] - rate*(gradient[i, j] + momentum*velocity_next[i, j])

Sources: Polyak, 1964; Nesterov, 1983; both in this form, where the gradient is taken at `value`, Sutskever, Martens,
Dahl, Hinton, ICML 2013, §2 and appendix A.1, up to scaling (the rate stands outside the velocity).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.errors import ModelError
from chainrule.optim.optimizer import Optimizer, Rate, axes, check_share


@dataclass(frozen=True)
class SGD(Optimizer):
    """0 ≤ `momentum` < 1; `nesterov` needs one above 0. The rest is as for `Optimizer`."""

    rate: Rate = 0.1
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share(self, "momentum", "0.9")
        if self.nesterov not in (True, False):
            raise ModelError(
                f"nesterov is True or False, not {self.nesterov!r}", about="SGD",
                fix="write SGD(momentum=0.9, nesterov=True)",
            )
        if self.nesterov and not self.momentum:
            raise ModelError(
                "Nesterov's step needs a momentum above 0", about="SGD", fix="write SGD(momentum=0.9, nesterov=True)"
            )

    @property
    def kept(self) -> Mapping[str, float]:
        return {"velocity": 0.0} if self.momentum else {}

    def equations(self, rank: int) -> str:
        i = axes(rank)
        if not self.momentum:
            return f"value_next{i} = value{i} - rate*gradient{i}"
        ahead = f"(gradient{i} + {self.momentum}*velocity_next{i})" if self.nesterov else f"velocity_next{i}"
        return f"""
            velocity_next{i} = {self.momentum}*velocity{i} + gradient{i}
            value_next{i} = value{i} - rate*{ahead}
        """
