"""Programs under a sanitizer: `python -m tests.targets.sanitized undefined|address last|every PROGRAM…`, started by
test_sanitizers.py, since what a sanitizer finds ends the process. "planted" reads one entry too far, and overflows.
The layouts are the last one of LAYOUTS, or every one. The vocabulary comes with JAX, which takes longer under a
sanitizer than all else: it is imported where it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module

import numpy as np
from tests.loops.tasks import floats, task_of
from tests.targets.native import BOUND, HERE, at_lanes, built_of, by_numpy, distance, natively

import chainrule as cr
from chainrule.compile import emit, training
from chainrule.loops.task import Task

SIZE = 9  # the entries of the array that "planted" reads beyond
# Samples that the code is laid out for, samples, batch: one in all, one in each vector, samples in the lanes.
LAYOUTS = [(1, 2, 1), (2, 3, 2), (HERE.lanes, 2 * HERE.lanes + 5, HERE.lanes + 3)]
FLAGS = {
    "undefined": ("-O0", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
    "address": ("-O0", "-fsanitize=address", "-Wl,-z,undefs"),
}


def program(name: str) -> Task:
    match name:
        case "network":
            model = cr.Sequential(
                cr.Input(1, 4, 5), cr.Conv2d(2, 3, stride=2, padding=1), cr.ReLU(), cr.MaxPool2d(2, stride=1),
                cr.Flatten(), cr.Dropout(0.3), cr.Dense(HERE.lanes + 1), cr.Dense(3), loss="softmax_cross_entropy",
            )  # fmt: skip
            return training(model.network, model.derive(), cr.SGD(0.1, momentum=0.9), "classes")
        case "losses":
            return import_module("tests.targets.test_native").losses()
        case "planted":
            return task_of("y[k] = 2*x[k]", kept=f"x[{SIZE}]", data="d[N, 1]")
        case _:
            return import_module("tests.targets.test_native").layers(int(name))


def main(kind: str, layouts: str, *names: str) -> None:
    for name in names:
        task = program(name)
        for expected, samples, batch in LAYOUTS[-1:] if layouts == "last" else LAYOUTS:
            lowered = at_lanes(task, HERE.lanes, samples=expected)
            source = emit(lowered)
            if name == "planted":
                line = "    const long *const order = m[2];\n"
                assert line in source
                slot = task.slots[task.kept[0]]
                more = f"    volatile real beyond = ((const real *)m[{slot}])[{SIZE}]; (void)beyond;\n"
                more += "    volatile int sum = 0x7fffffff + (int)batch; (void)sum;\n"
                source = source.replace(line, line + more)
            built = built_of(lowered, source, HERE, FLAGS[kind])
            given, order = floats(task, samples), np.random.default_rng(0).permutation(samples)
            found = natively(built, given, order, batch, workers=2)
            right = by_numpy(task, given, order, batch)
            wrong = {n: d for n, d in distance(found, right).items() if not d < 10 * BOUND}
            assert not wrong, wrong
        sys.stdout.write(f"{name} is clean\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
