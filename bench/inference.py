"""Inference side by side: NumPy arrays in, probabilities as NumPy arrays out, at batch 1 and 256.

    python -m bench.inference --threads 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

from bench.contender import UnavailableError, library
from bench.machine import limit, load, spread
from bench.rounds import Work, interleaved
from bench.table import duration, markdown, times
from bench.workloads import WORKLOADS, Activation, Array, Conv, Dense, Pool, Workload

Predict = Callable[[Array], Array]
TOLERANCE = 1e-5  # of a probability


def chainrule(workload: Workload, threads: int) -> Predict:
    from bench.ours import model_of

    model = model_of(workload)
    return lambda x: model.predict(x, executor="native", workers=threads)


def onnxruntime(workload: Workload, threads: int) -> Predict:
    ort = library("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session: Any = ort.InferenceSession(onnx_of(workload), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def onnx_of(workload: Workload) -> bytes:
    """The network, with its softmax, as an ONNX file."""
    onnx = library("onnx")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    values = iter(workload.initial())
    nodes: list[Any] = []
    weights: list[Any] = []
    name = "x"

    def add(kind: str, *weighted: Array, **attributes: object) -> None:
        nonlocal name
        after = f"v{len(nodes)}"
        names = [f"{after}_{i}" for i in range(len(weighted))]
        weights.extend(onnx.numpy_helper.from_array(w, n) for w, n in zip(weighted, names, strict=True))
        nodes.append(helper.make_node(kind, [name, *names], [after], **attributes))
        name = after

    for layer, before, _ in workload.walk():
        match layer:
            case Dense():
                if len(before) > 1:
                    add("Flatten", axis=1)
                add("Gemm", next(values), next(values), transB=1)
            case Conv(size=size, stride=stride, padding=padding):
                around, step = [padding] * 4, [stride] * 2
                add("Conv", next(values), next(values), kernel_shape=[size] * 2, strides=step, pads=around)
            case Pool(kind=kind, size=size, stride=stride):
                add("MaxPool" if kind == "max" else "AveragePool", kernel_shape=[size] * 2, strides=[stride] * 2)
            case Activation(name=function):
                add({"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}[function])
    add("Softmax", axis=1)
    inputs = [helper.make_tensor_value_info("x", real, ["n", *workload.input])]
    outputs = [helper.make_tensor_value_info(name, real, ["n", workload.outputs])]
    graph = helper.make_graph(nodes, workload.name, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def torch_eager(workload: Workload, threads: int) -> Predict:
    from bench.pytorch import network, torch

    torch.set_num_threads(threads)
    model: Any = network(workload).eval()

    def predict(x: Array) -> Array:
        with torch.inference_mode():
            return torch.softmax(model(torch.from_numpy(x)), 1).numpy()

    return predict


def jax_jit(workload: Workload, threads: int) -> Predict:
    from bench.xla import forward, jax, jnp

    values = [jnp.array(value) for value in workload.initial()]

    def probabilities(x: Any) -> Any:
        return jax.nn.softmax(forward(workload, values, x))

    compiled = jax.jit(probabilities)
    return lambda x: np.asarray(compiled(x))


def scikit(workload: Workload, threads: int) -> Predict:
    from bench.scikit import ScikitLearn

    network = ScikitLearn(workload, workload.data(workload.batch), threads).network
    return lambda x: network.predict_proba(x)


CONTENDERS: dict[str, Callable[[Workload, int], Predict]] = {
    "chainrule": chainrule,
    "onnxruntime": onnxruntime,
    "PyTorch eager": torch_eager,
    "JAX jit": jax_jit,
    "scikit-learn": scikit,
}


def sections(workload: Workload, threads: int, rounds: int, seconds: float) -> Iterator[str]:
    missing: dict[str, str] = {}
    predicts: dict[str, Predict] = {}
    for name, make in CONTENDERS.items():
        try:
            predicts[name] = make(workload, threads)
        except UnavailableError as reason:
            missing[name] = str(reason)
    for batch in (1, 256):
        x = workload.data(batch).x
        outputs = {name: predict(x) for name, predict in predicts.items()}

        def repeat(predict: Predict, count: int, x: Array = x) -> None:
            for _ in range(count):
                predict(x)

        works = {name: Work(lambda n, p=predict: repeat(p, n)) for name, predict in predicts.items()}
        taken = interleaved(works, seconds=seconds, rounds=rounds)
        ours = median(taken["chainrule"])
        rows: list[list[str]] = []
        for name in sorted(taken, key=lambda name: median(taken[name])):
            found = taken[name]
            apart = float(np.abs(outputs[name] - outputs["chainrule"]).max())
            rows.append(
                [name, duration(median(found)), duration(min(found)), f"±{spread(found):.1%}"]
                + (["", ""] if name == "chainrule" else [times(median(found) / ours), f"{apart:.0e}"])
            )
        plural = "s" if threads > 1 else ""
        yield f"#### {workload.name}, {workload.title}: batch {batch}, {threads} thread{plural}; load {load()}\n"
        yield markdown(["", "a call", "best", "spread", "chainrule is", "probabilities"], rows) + "\n"
        wrong = [n for n, out in outputs.items() if not np.abs(out - outputs["chainrule"]).max() <= TOLERANCE]
        yield from (f"- **{name} computes other probabilities**\n" for name in wrong)
    yield from (f"- {name} takes no part: {reason}.\n" for name, reason in missing.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    limit(options.threads)
    for name in ("W2", "W3"):
        for text in sections(WORKLOADS[name], options.threads, *((5, 0.03) if options.quick else (15, 0.2))):
            print(text, flush=True)


if __name__ == "__main__":
    main()
