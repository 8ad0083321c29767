"""ONNX files in which something is wrong: each comes in or is refused with a sentence, whatever stands in it.

    python -m tests.doors.damaged --from 0 --to 45000

reads so many, drawn anew from their numbers, and prints those that end in another way: an error of Python's, more than
four gigabytes, or more than twenty seconds of work. A number alone says which file it is."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

import chainrule as cr
from chainrule.interop.operators import FUNCTIONS, ROWS

NUMBERS = [0, -1, 1, 2, 3, 5, 7, -2, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63)]
SECONDS, BYTES = 20, 4 << 30


@cache
def sound() -> list[bytes]:
    """Sound files: the standard's node tests of the operators in the table, their later inputs as weights, and nets."""
    found = list[bytes]()
    known = {*FUNCTIONS, *ROWS}
    for case in collect_testcases(None):
        model = case.model
        given = case.data_sets[0][0] if case.data_sets else ()
        plain = all(isinstance(value, np.ndarray) and value.size < 4096 for value in given)
        if not plain or {node.op_type for node in model.graph.node} - known:
            continue
        infos = list(model.graph.input)
        del model.graph.input[1:]
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(v), i.name) for v, i in zip(given[1:], infos[1:], strict=False)
        )
        found.append(model.SerializeToString())
    files = sorted((Path(__file__).parent / "files").glob("*.onnx"))
    return found + 20 * [path.read_bytes() for path in files]


def damaged(number: int) -> bytes:
    """A file with some of its bytes changed, or with a few of its fields."""
    rng = np.random.default_rng(number)
    files = sound()
    data = files[rng.integers(len(files))]
    if rng.random() < 0.3:
        bad = bytearray(data)
        for place in rng.integers(0, len(bad), rng.integers(1, 8)):
            bad[place] = rng.integers(256)
        return bytes(bad[: rng.integers(1, len(bad) + 1)] if rng.random() < 0.3 else bad)
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.integers(1, 4)):
        _change(model, rng)
    return model.SerializeToString()


def _change(model: Any, rng: Any) -> None:
    """One field, given another value."""
    graph = model.graph
    node = graph.node[rng.integers(len(graph.node))]
    number = NUMBERS[rng.integers(len(NUMBERS))]
    match rng.integers(9):
        case 0:
            node.op_type = [*FUNCTIONS, *ROWS][rng.integers(len(FUNCTIONS) + len(ROWS))]
        case 1 | 2 if node.attribute:
            attribute = node.attribute[rng.integers(len(node.attribute))]
            if attribute.ints and rng.random() < 0.7:
                attribute.ints[rng.integers(len(attribute.ints))] = number
            elif attribute.ints:
                attribute.ints[:] = [number] * rng.integers(0, 9)
            elif attribute.s:
                attribute.s = [b"", b"SAME_LOWER", b"linear", b"\xff", b"bij,bjk->bik"][rng.integers(5)]
            else:
                attribute.i, attribute.f = number, [0.0, -1.0, float("nan"), float("inf"), 1e38][rng.integers(5)]
        case 3 if node.input:
            others = [*(i.name for i in graph.initializer), *(i.name for i in graph.input), ""]
            node.input[rng.integers(len(node.input))] = others[rng.integers(len(others))]
        case 4 if node.input:
            del node.input[rng.integers(len(node.input))]
        case 5 if graph.initializer:
            tensor = graph.initializer[rng.integers(len(graph.initializer))]
            if tensor.data_type == 7:
                values = np.array(numpy_helper.to_array(tensor))
                if values.size:
                    values.flat[rng.integers(values.size)] = number
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            elif tensor.dims:
                tensor.dims[rng.integers(len(tensor.dims))] = number
        case 6 if graph.input:
            dims = graph.input[0].type.tensor_type.shape.dim
            if len(dims):
                dims[rng.integers(len(dims))].dim_value = number
        case 7:
            model.opset_import[0].version = int(rng.integers(7, 24))
        case _:
            graph.node.add().CopyFrom(node)
            graph.node[-1].output[0] = graph.output[0].name
            graph.node[-1].input[0:1] = node.output[:1]


def answer(number: int, path: Path) -> str:
    """How the reading of a file ends: "in", "refused", or the error that is none of ours."""
    path.write_bytes(damaged(number))
    try:
        cr.from_onnx(path)
    except cr.ChainruleError as error:
        return "refused" if str(error).strip() else "refused without a sentence"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {error}"[:300]
    return "in"


def _late(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--to", dest="last", type=int, default=45000)
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.signal(signal.SIGPROF, _late)
    ends: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.first, chosen.last):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            end = answer(number, Path(folder) / "net.onnx")
            signal.setitimer(signal.ITIMER_PROF, 0)
            kind = end if end in ("in", "refused") else "other"
            ends[kind] = ends.get(kind, 0) + 1
            if kind == "other":
                print(f"file {number}: {end}", flush=True)
            if (number + 1) % 500 == 0:
                print(f"{number + 1} files: {ends}", flush=True)
    return int("other" in ends)


if __name__ == "__main__":
    sys.exit(main())
