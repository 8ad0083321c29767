"""Random programs: graphs of random equations with shared tensors, fan-out and awkward strides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.derive.cases import Case
from tests.derive.oracle import gradients_are_exact
from tests.examples import examples

Draw = st.DataObject


def _extend(data: Draw, shapes: dict[str, tuple[int | str, ...]], maps: dict[str, tuple[int, int]], number: int) -> str:
    """One more equation over maps of shape (N, c, w); new parameters are added to `shapes`."""

    def size(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    x = data.draw(st.sampled_from(sorted(maps)))
    c, w = maps[x]
    y, weight = f"y{number}", f"W{number}"
    kind = data.draw(st.sampled_from(["conv", "pool", "mean", "dense", "function", "product", "join", "norm", "swap"]))
    others = sorted(name for name in maps if maps[name] == (c, w))
    other = data.draw(st.sampled_from(others))
    match kind:
        case "conv" | "pool" | "mean":
            stride, dilation, kernel = size(1, 3), size(1, 2), size(1, min(3, w))
            padding = size(0, kernel - 1) if kind != "pool" else size(0, kernel // 2)
            span = dilation * (kernel - 1) + 1
            if span > w + 2 * padding or (kind == "pool" and dilation > 1):
                dilation, padding, span = 1, 0, kernel
            out = (w + 2 * padding - span) // stride + 1
            place = f"{stride}*i + {dilation}*p - {padding}"
            if kind == "conv":
                channels = size(1, 2)
                shared = [name for name, s in shapes.items() if name[0] == "W" and s == (channels, c, kernel)]
                weight = data.draw(st.sampled_from([*shared, weight]))
                shapes[weight] = (channels, c, kernel)
                maps[y] = (channels, out)
                return f"{y}[n, o, i<{out}] = sum[c, p]({weight}[o, c, p]*pad({x}, 0)[n, c, {place}])"
            maps[y] = (c, out)
            if kind == "pool":
                return f"{y}[n, c, i<{out}] = max[p<{kernel}](pad({x}, -inf)[n, c, {place}])"
            return f"{y}[n, c, i<{out}] = mean[p<{kernel}](pad({x}, 0)[n, c, {place}])"
        case "dense":
            units = size(1, 3)
            shapes[weight] = (units, c * w)
            maps[y] = (units, 1)
            return f"{y}[n, k, j<1] = sum[c, i]({weight}[k, {w}*c + i]*{x}[n, c, i])"
        case "function":
            g = data.draw(st.sampled_from(["sigmoid(v)", "relu(v)", "tanh(v)*v", "v**3/(v**2 + 7)", "softplus(2*v)"]))
            maps[y] = (c, w)
            return f"{y}[n, c, i] = {g.replace('v', f'{x}[n, c, i]')}"
        case "product":
            maps[y] = (c, w)
            return f"{y}[n, c, i] = {x}[n, c, i]*{other}[n, c, i] - 1/3*{other}[n, c, i] + {x}[n, c, i]"
        case "join":
            maps[y] = (2 * c, w)
            return f"{y}[n, k<{2 * c}, i] = pad({x}, 0)[n, k, i] + pad({other}, 0)[n, k - {c}, i]"
        case "norm":
            maps[y] = (c, w)
            return (
                f"m{number}[n, c] = mean[i]({x}[n, c, i])\nq{number}[c] = mean[n](m{number}[n, c]**2)\n"
                f"{y}[n, c, i] = ({x}[n, c, i] - m{number}[n, c])*(q{number}[c] + 1/10)**(-1/2)"
            )
        case _:
            maps[y] = (c, w)
            return f"{y}[n, c, i<{w}] = {x}[n, c, {w - 1} - i]"


def random_case(data: Draw) -> Case:
    shapes: dict[str, tuple[int | str, ...]] = {"x": ("N", data.draw(st.integers(1, 2)), data.draw(st.integers(2, 6)))}
    maps = {"x": (int(shapes["x"][1]), int(shapes["x"][2]))}
    lines = [_extend(data, shapes, maps, number) for number in range(data.draw(st.integers(1, 5)))]
    ends = " + ".join(f"sum[c, i]({name}[n, c, i]**2)" for name in sorted(maps))
    return Case("random", "\n".join([*lines, f"loss = mean[n]({ends})"]), shapes)


def counterexample(data: Draw) -> str | None:
    """The text of a random program whose gradients are not exact."""
    case = random_case(data)
    samples = data.draw(st.integers(1, 3))
    exact = gradients_are_exact(case.derivation, {"N": samples}, seed=data.draw(st.integers(0, 99)))
    return None if exact else case.text


@given(st.data())
@examples(12, 5000)
def test_gradients_of_random_programs_are_exact(data: Draw) -> None:
    assert counterexample(data) is None
