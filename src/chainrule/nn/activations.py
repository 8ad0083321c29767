"""Activations: functions of each component, and softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from chainrule.errors import ModelError, ShapeError
from chainrule.nn.initialisers import Initialiser, constant
from chainrule.nn.layer import Layer, Shape
from chainrule.nn.shapes import axes, exact, indices, real, truth


class _Elementwise(Layer):
    """z = g(x) for each component."""

    function = ""

    def formula(self, x: str) -> str:
        """g of one component."""
        return f"{self.function}({x})"

    def equations(self, *shapes: Shape) -> str:
        where = indices(shapes[0])
        return f"z[{where}] = {self.formula(f'x[{where}]')}"


class Sigmoid(_Elementwise):
    """z = 1/(1 + exp(−x))."""

    function = "sigmoid"

    def __init__(self) -> None:
        super().__init__()


class Tanh(_Elementwise):
    """z = tanh(x)."""

    function = "tanh"

    def __init__(self) -> None:
        super().__init__()


class ReLU(_Elementwise):
    """z = x where x > 0, else 0; the derivative at 0 is 0."""

    function = "relu"

    def __init__(self) -> None:
        super().__init__()


class LeakyReLU(_Elementwise):
    """z = x where x > 0, else slope·x; the derivative at 0 is the slope."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = real("slope", slope, "LeakyReLU", "LeakyReLU(slope=0.01)")

    def formula(self, x: str) -> str:
        return f"relu({x}) + {exact(self.slope)}*min({x}, 0)"


class ELU(_Elementwise):
    """z = x where x > 0, else α·(exp(x) − 1); the derivative at 0 is α. Clevert et al., ICLR 2016."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = real("alpha", alpha, "ELU", "ELU(alpha=1.0)")

    def formula(self, x: str) -> str:
        return f"relu({x}) + {exact(self.alpha)}*expm1(min({x}, 0))"


class SELU(_Elementwise):
    """z = λ·x where x > 0, else λ·α·(exp(x) − 1); the derivative at 0 is λ·α. It keeps mean 0 and variance 1:
    Klambauer et al., NeurIPS 2017, whose constants these are, to 31 digits."""

    scale = "1.050700987355480493419334985294"
    alpha = "1.673263242354377284817042991671"

    def __init__(self) -> None:
        super().__init__()

    def formula(self, x: str) -> str:
        return f"{self.scale}*(relu({x}) + {self.alpha}*expm1(min({x}, 0)))"


class GELU(_Elementwise):
    """z = x·Φ(x) with the normal distribution Φ; the form "tanh" approximates Φ. Hendrycks & Gimpel, 2016."""

    def __init__(self, form: Literal["exact", "tanh"] = "exact") -> None:
        super().__init__()
        if form not in ("exact", "tanh"):
            raise ModelError(f"form must be 'exact' or 'tanh', not {form!r}", about="GELU", fix='write form="exact"')
        self.form = form

    def formula(self, x: str) -> str:
        if self.form == "exact":
            # As 1 + erf the distribution would be lost to rounding in its lower tail.
            return f"{x}/2*erfc(-{x}*2**(-1/2))"
        return f"{x}/2*(1 + tanh((2/pi)**(1/2)*({x} + 0.044715*{x}**3)))"


class SiLU(_Elementwise):
    """z = x·σ(x), also called swish."""

    def __init__(self) -> None:
        super().__init__()

    def formula(self, x: str) -> str:
        return f"{x}*sigmoid({x})"


class Softplus(_Elementwise):
    """z = log(1 + exp(x))."""

    function = "softplus"

    def __init__(self) -> None:
        super().__init__()


class Softsign(_Elementwise):
    """z = x/(1 + |x|)."""

    def __init__(self) -> None:
        super().__init__()

    def formula(self, x: str) -> str:
        return f"{x}/(1 + abs({x}))"


class Hardtanh(_Elementwise):
    """z = x between low and high, else the nearer of them; the derivative at low and at high is 1."""

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__()
        self.low = real("low", low, "Hardtanh", "Hardtanh(low=-1.0)")
        self.high = real("high", high, "Hardtanh", "Hardtanh(high=1.0)")
        if not self.low < self.high:
            raise ModelError(
                f"low={low!r} is not less than high={high!r}", about="Hardtanh", fix="write Hardtanh(low=-1, high=1)"
            )

    def formula(self, x: str) -> str:
        return f"max(min({x}, {exact(self.high)}), {exact(self.low)})"


class HardSigmoid(_Elementwise):
    """z = min(max(slope·x + shift, 0), 1); the derivative at both ends is 0 or the slope, as the first of max and of
    min wins a tie."""

    def __init__(self, slope: float = 0.2, shift: float = 0.5) -> None:
        super().__init__()
        self.slope = real("slope", slope, "HardSigmoid", "HardSigmoid(slope=0.2)")
        self.shift = real("shift", shift, "HardSigmoid", "HardSigmoid(shift=0.5)")

    def formula(self, x: str) -> str:
        return f"max(min({exact(self.slope)}*{x} + {exact(self.shift)}, 1), 0)"


class HardSwish(_Elementwise):
    """z = x·min(max(x + 3, 0), 6)/6. Howard et al., ICCV 2019."""

    def __init__(self) -> None:
        super().__init__()

    def formula(self, x: str) -> str:
        return f"{x}*max(min({x} + 3, 6), 0)/6"


class Mish(_Elementwise):
    """z = x·tanh(log(1 + exp(x))). Misra, BMVC 2020."""

    def __init__(self) -> None:
        super().__init__()

    def formula(self, x: str) -> str:
        return f"{x}*tanh(softplus({x}))"


class PReLU(Layer):
    """z = x where x > 0, else a·x with a learnt slope a: one for each entry of axis 1, the channels of
    (N, channels, …), or with `shared` a single one. It starts at 0.25. He et al., ICCV 2015."""

    def __init__(self, shared: bool = False) -> None:
        super().__init__(l2=0.0)
        self.shared = truth("shared", shared, "PReLU")

    def equations(self, *shapes: Shape) -> str:
        where = indices(shapes[0])
        if len(shapes[0]) < 2 and not self.shared:
            raise ShapeError("PReLU needs an axis of channels after the samples", fix="write PReLU(shared=True)")
        slope = "0" if self.shared else axes(len(shapes[0]) - 1)[0]
        return f"z[{where}] = relu(x[{where}]) + a[{slope}]*min(x[{where}], 0)"

    def initial(self, *shapes: Shape) -> Mapping[str, Initialiser]:
        return {"a": constant(0.25, 1 if self.shared else int(shapes[0][1]))}


class _Normalised(Layer):
    """Over the last axis."""

    def parts(self, shape: Shape) -> tuple[str, str]:
        """The subscripts, and log Σ exp(x) over the last of them."""
        names = ["n", *axes(len(shape) - 1)]
        if len(names) < 2:
            raise ShapeError(
                f"{type(self).__name__} needs an axis besides the samples", fix="give Input(3), not Input()"
            )
        return ", ".join(names), f"logsumexp[h](x[{', '.join([*names[:-1], 'h'])}])"


class Softmax(_Normalised):
    """p = exp(x)/Σ exp(x) over the last axis."""

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        where, total = self.parts(shapes[0])
        return f"p[{where}] = exp(x[{where}] - {total})"


class LogSoftmax(_Normalised):
    """z = x − log Σ exp(x) over the last axis."""

    def __init__(self) -> None:
        super().__init__()

    def equations(self, *shapes: Shape) -> str:
        where, total = self.parts(shapes[0])
        return f"z[{where}] = x[{where}] - {total}"
