"""From a model's programs to something that runs, stage by stage.

    stage      takes                                     gives
    task       a network, its derivation, an optimizer   the equations of one step, in order, and what lives on after it
    lower      a task                                    kernels over flat memory: fused, scheduled, placed
    emit       kernels                                   one C source
    build      a source                                  a shared object, from the cache where it is there
    load       an object                                 a library that runs steps

The derivation itself (check, derive) and its certificate (verify) come before: a task is made of its last lines.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from chainrule.derive import Derivation
from chainrule.derive.written import evaluated
from chainrule.errors import ChainruleError, CompileError
from chainrule.ir.expr import Tensor
from chainrule.ir.laws import signs_read_from_relu
from chainrule.ir.program import Program
from chainrule.loops.names import written
from chainrule.loops.plan import Plan
from chainrule.loops.program import lower
from chainrule.loops.schedule import Machine, Tile
from chainrule.loops.task import Task
from chainrule.nn.layers import LAYERS
from chainrule.nn.losses import Labels, Loss
from chainrule.nn.metrics import accuracy
from chainrule.nn.network import Network, needed
from chainrule.optim.named import OPTIMIZERS
from chainrule.optim.optimizer import RATE, Optimizer
from chainrule.runtime.build import build, built, load, settings
from chainrule.runtime.cache import keep_answer, kept_answer
from chainrule.runtime.compiler import Target, native
from chainrule.runtime.headers import PARTS, header
from chainrule.runtime.library import Frame, Library, frame_of
from chainrule.runtime.tiles import measured
from chainrule.targets import c
from chainrule.verify.loops import Loops, cases, loops_agree, lowerings, reduced_step

LONG = 1200  # lines from which on several compilers side by side are quicker than one


def training(
    net: Network, derivation: Derivation, rule: Optimizer, labels: Labels, rates: Mapping[str, float] | None = None
) -> Task:
    """One step of training: loss, accuracy where there is one, gradients, update. Its outputs are scalars: the loss,
    and how many are right of how many. `rates` are factors of the rate, by layer; one of 0 is not updated at all."""
    return shared(net, derivation, rule, labels, rates).whole


@dataclass(frozen=True)
class Shared:
    """A step of training, and it in two: `share` has the outputs of the whole, the gradients and what states become,
    of the rows that it is given and of what is drawn for them; `update` makes the step of these."""

    whole: Task
    share: Task
    update: Program


def shared(
    net: Network, derivation: Derivation, rule: Optimizer, labels: Labels, rates: Mapping[str, float] | None = None
) -> Shared:
    assert net.loss
    factors = {t: (rates or {}).get(t.name.partition(".")[0], 1.0) for t in net.training.parameters}
    pairs = [(t, derivation.gradients[t.name]) for t, factor in factors.items() if factor]
    moving = [s for s in net.training.states if (rates or {}).get(s.tensor.name.partition(".")[0], 1.0)]
    wanted = [net.loss.name, net.logits.name, *(g.name for _, g in pairs), *(s.next.name for s in moving)]
    step, update = needed(derivation.joint, wanted), rule.program(pairs, factors)
    task = with_accuracy(task_of(step, [net.loss], net), net, labels)
    numbers = tuple(t for t in update.inputs if t == RATE)
    whole = replace(
        task,
        equations=(*task.equations, *update.equations),
        kept=tuple(dict.fromkeys((*task.kept, *(s.tensor for s in update.states), *numbers))),
        following={s.tensor: s.next for s in (*moving, *update.states)},
        loss=net.loss,
        stepwise=numbers,
    )
    outputs = (*task.outputs, *(g for _, g in pairs), *(s.next for s in moving))
    return Shared(whole, replace(task, outputs=tuple(dict.fromkeys(outputs)), drawn={}), update)


def evaluation(net: Network, labels: Labels) -> Task:
    """The loss, and the accuracy where there is one, of batches outside of training."""
    assert net.loss
    program = _inference(net, [net.loss, net.inference_logits])
    return with_accuracy(task_of(program, [net.loss]), replace(net, logits=net.inference_logits), labels)


def forward(net: Network, tensor: Tensor) -> Task:
    """One tensor of the program for inference."""
    return task_of(_inference(net, [tensor]), [tensor])


def _inference(net: Network, tensors: Sequence[Tensor]) -> Program:
    """What these tensors depend on outside of training. Derivatives that a layer is written with are evaluated; those
    of the training program are a part of its derivation."""
    return evaluated(needed(net.inference, [t.name for t in tensors]))[0]


def gradients(net: Network, derivation: Derivation) -> Task:
    """The loss and all gradients."""
    assert net.loss
    outputs = [net.loss, *derivation.gradients.values()]
    return task_of(needed(derivation.joint, [t.name for t in outputs]), outputs, net)


def task_of(program: Program, outputs: Iterable[Tensor], net: Network | None = None) -> Task:
    """A program as a task; the probabilities of what is drawn are the network's."""
    return Task(
        tuple(signs_read_from_relu(program.equations)),
        data=(*program.inputs, *program.random),
        kept=(*program.parameters, *(s.tensor for s in program.states)),
        following={},
        outputs=tuple(outputs),
        drawn={t: (net.training.random.index(t), net.random[t.name]) for t in program.random} if net else {},
    )


def with_accuracy(task: Task, net: Network, labels: Labels) -> Task:
    """The task and the equations of accuracy, right behind the loss."""
    assert net.target and net.loss
    found = accuracy(labels, net.logits, net.target, net.weight)
    if found is None:
        return task
    at = 1 + next(n for n, e in enumerate(task.equations) if e.tensor == net.loss)
    equations = (*task.equations[:at], *found.equations, *task.equations[at:])
    return replace(task, equations=equations, outputs=(*task.outputs, found.right, found.counted))


@contextmanager
def own_faults() -> Generator[None]:
    """A generator that breaks down is a CompileError that says so: NumPy can still run the task."""
    try:
        yield
    except ChainruleError:
        raise
    except Exception as error:
        raise CompileError(
            f"native code for this model fails by a fault of chainrule's, {type(error).__name__}: {error}",
            fix="please report it, with the model's equations",
        ) from error


def checked_loops(net: Network, loss: Loss | None, derivation: Derivation, rule: Optimizer, batch: int) -> Loops:
    """What the loops of a step of training compute otherwise than its equations, at reduced shapes over GF(p), or why
    they were not carried out; they are not where no equation is a user's own, of a layer, the loss or the optimizer.
    The answer is kept in the cache of compiled models. Raises CompileError where the step has no loops."""
    known = all(type(layer) in LAYERS.values() for _, layer in net.layers) and (loss is None or loss.term is not None)
    if known and any(type(rule) is type(named) for named in OPTIMIZERS.values()):
        return Loops()
    with own_faults():
        task = reduced_step(derivation, rule, batch)
        name = _digest(written(task), cases(batch))
    if (before := kept_answer(name)) is not None:
        return Loops(differing=tuple(before.split()))
    with own_faults():
        found = loops_agree(task, lowerings(task, batch))
    if not found.note:
        with suppress(OSError):
            keep_answer(name, " ".join(found.differing))
    return found


class Checked:
    """The derivations that this chainrule has checked, in the cache of compiled models: a new process need not."""

    def __contains__(self, digest: str) -> bool:
        return kept_answer(_digest("lines", digest)) is not None

    def add(self, digest: str) -> None:
        with suppress(OSError):
            keep_answer(_digest("lines", digest), "")


def machine_of(target: Target, workers: int = 1) -> Machine:
    return Machine(target.lanes, 24 if target.lanes == 16 else 12, workers)


def emit(lowered: Plan, over: Literal["float", "field"] = "float") -> str:
    """The C source of a program, over floats or over the field, from the same kernels."""
    front = f"#define WIDTH {lowered.width}\n"
    return front + header(c.functions(lowered) & PARTS.keys(), over=over) + "\n" + c.source(lowered)


def compiled(task: Task, *, samples: int, workers: int = 1) -> Library:
    """A task as native code for this machine, laid out for batches of about so many samples and best for so many
    workers. A task that is equal to one of before, in this process or by what the cache holds, is not lowered anew.

    Raises CompileError where there are no loops for an equation, BuildError where it cannot be built.
    """
    target = native()
    tiles = tuple(sorted(measured(target).items()))
    frame, code = _program(task, machine_of(target, workers), samples, tiles, target, settings(target))
    return Library(task, frame, code, np.dtype(np.float32))


@lru_cache(maxsize=32)
def _program(
    task: Task, machine: Machine, samples: int, tiles: tuple[tuple[str, Tile], ...], target: Target, by: object
) -> tuple[Frame, ctypes.CDLL]:
    """The code of a task, and what there is to know of its plan. The cache knows it by the task written out and by all
    that a plan and an object depend on beside it."""
    with own_faults():
        name = _digest(written(task), machine, samples, tiles, target, by)
    if (found := _remembered(kept_answer(name))) is not None:
        return found
    with own_faults():
        plan = lower(task, machine, samples=samples, tiles=dict(tiles))
    path, frame = built_from(plan, target), frame_of(plan)
    with suppress(OSError):
        keep_answer(name, json.dumps({"object": path.stem, **asdict(frame)}))
    return frame, load(path)


def _remembered(answer: str | None) -> tuple[Frame, ctypes.CDLL] | None:
    """What the cache holds, where the object is there too."""
    found = json.loads(answer or "{}")
    path = built(found.pop("object", ""))
    if path is None:
        return None
    halos = tuple(tuple((before, after) for before, after in halo) for halo in found.pop("halos"))
    return Frame(**found, halos=halos), load(path)


def _digest(*what: object) -> str:
    """What the cache knows an answer by: what it is about, and chainrule's own code."""
    return sha256(repr((*what, _own_code())).encode()).hexdigest()


@cache
def _own_code() -> str:
    """A digest of all code of the package: an answer is that of one chainrule."""
    digest, waiting = sha256(), [files("chainrule")]
    while waiting:
        here = waiting.pop()
        if here.is_dir():
            waiting += sorted(here.iterdir(), key=lambda file: file.name)
        elif here.name.endswith((".py", ".h")):
            digest.update(here.read_bytes())
    return digest.hexdigest()


def loaded(plan: Plan, target: Target, front: str = "") -> Library:
    """A plan built and loaded; `front` stands before its source. Raises BuildError, CompileError."""
    code = load(built_from(plan, target, front))
    return Library(plan.task, frame_of(plan), code, np.dtype(np.float32))


def built_from(plan: Plan, target: Target, front: str = "") -> Path:
    with own_faults():
        source = front + emit(plan)
    return build(source, target=target, parts=c.PARTS if source.count("\n") > LONG else 1)
