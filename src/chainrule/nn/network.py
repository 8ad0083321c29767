"""From a graph of layers to programs: one for training, one for inference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chainrule.errors import ModelError
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.parse import parse_equation, parse_program
from chainrule.ir.program import Equation, Program, State
from chainrule.ir.walk import tensors
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Block, Input, Layer, Node, instantiate
from chainrule.nn.losses import Loss


@dataclass(frozen=True)
class Network:
    """What a graph means. `training` and `inference` hold the layers' equations, the link's and the loss's;
    `labels` says which layer a tensor belongs to."""

    training: Program
    inference: Program
    initial: dict[str, Initialiser]
    initial_states: dict[str, Initialiser]
    random: dict[str, float | None]
    labels: dict[str, str]
    layers: tuple[tuple[str, Layer], ...]
    blocks: tuple[Block, ...]
    logits: Tensor
    inference_logits: Tensor
    prediction: Tensor
    target: Tensor | None
    loss: Tensor | None


def order(output: Node) -> list[Node]:
    """Every node that the output depends on, parents first."""
    done: dict[Node, None] = {}
    stack = [output]
    while stack:
        node = stack[-1]
        missing = [parent for parent in node.parents if parent not in done]
        if node in done or not missing:
            done.setdefault(stack.pop())
        else:
            stack.extend(reversed(missing))
    return list(done)


def assemble(inputs: Sequence[Input], output: Node, loss: Loss | None, l2: float) -> Network:
    """Build the programs. Raises ModelError, ShapeError or EquationError, each naming the layer."""
    nodes = order(output)
    for node in nodes:
        if isinstance(node, Input) and node not in inputs:
            raise ModelError(
                f"the output depends on Input{node.shape[1:]!r}, which is not among the model's inputs",
                fix="list it in cr.Model(inputs, outputs)",
            )
    for number, node in enumerate(inputs):
        if node not in nodes:
            raise ModelError(
                f"input {number + 1}, Input{node.shape[1:]!r}, does not reach the output", fix="leave it out"
            )
    names = ["input"] if len(inputs) == 1 else [f"input{i + 1}" for i in range(len(inputs))]
    given = {node: Tensor(name, node.shape, node.dtype) for name, node in zip(names, inputs, strict=True)}

    labels: dict[Layer, str] = {}
    uses: dict[Layer, int] = {}
    counts: dict[str, int] = {}
    training: list[Block] = []
    inference: list[Block] = []
    values: tuple[dict[Node, Tensor], dict[Node, Tensor]] = ({**given}, {**given})
    for node in nodes:
        layer = node.layer
        if layer is None:
            continue
        if layer not in labels:
            stem = type(layer).__name__.lower()
            counts[stem] = counts.get(stem, 0) + 1
            labels[layer] = f"{stem}{counts[stem]}"
        uses[layer] = uses.get(layer, 0) + 1
        suffix = f"_{uses[layer]}" if uses[layer] > 1 else ""
        for blocks, value, outside in ((training, values[0], False), (inference, values[1], True)):
            block = instantiate(
                layer, labels[layer], [value[p] for p in node.parents], suffix=suffix, inference=outside
            )
            if uses[layer] > 1 and block.states:
                raise ModelError(f"{labels[layer]} has a state and is used twice", fix="make a layer for each use")
            blocks.append(block)
            value[node] = block.output

    parameters: dict[str, tuple[Tensor, Initialiser]] = {}
    for block in training:
        for tensor, initial in block.parameters:
            known = parameters.setdefault(tensor.name, (tensor, initial))
            if known[0] != tensor:
                raise ModelError(
                    f"{block.label} is used twice, with inputs that need {tensor.name} of shapes "
                    f"{known[0].shape} and {tensor.shape}",
                    fix="make a layer for each use",
                )
    logits = values[0][output]
    if values[1][output].shape != logits.shape:
        raise ModelError(f"training gives {logits.shape} and inference {values[1][output].shape}", about=labels)
    decay = [
        (tensor, penalty)
        for layer, label in labels.items()
        for tensor, _ in parameters.values()
        if tensor.name.startswith(f"{label}.")
        and len(tensor.shape) >= 2
        and (penalty := l2 if layer.l2 is None else layer.l2) > 0
    ]
    target = Tensor("target", logits.shape) if loss else None
    if loss and loss.included and type(output.layer).__name__ == loss.included:
        raise ModelError(
            f"the loss {loss.name} contains the {loss.included.lower()}, and so does the model",
            about=labels[output.layer] if output.layer else None,
            fix=f"remove the last {loss.included}()",
        )

    def ending(value: Tensor) -> tuple[Equation, ...]:
        return _ending(value, target, loss, decay) if loss and target else ()

    end = ending(logits)
    prediction = end[0].tensor if loss and loss.link else logits
    owners = {tensor.name: label for tensor, label in _owned(training)}
    states = {state.tensor.name: initial for block in training for state, initial in block.states}
    base = (*given.values(), *([target] if target else []))
    programs: list[Program] = []
    for blocks, value in ((training, logits), (inference, values[1][output])):
        equations = (*(e for block in blocks for e in block.equations), *ending(value))
        read = {t for e in equations for t in tensors(e.value)}
        programs.append(
            Program(
                equations,
                inputs=base,
                parameters=tuple(tensor for tensor, _ in parameters.values()),
                random=tuple(tensor for block in blocks for tensor, _ in block.random),
                states=tuple(
                    state if blocks is training else State(state.tensor, state.tensor)
                    for block in training
                    for state, _ in block.states
                    if blocks is training or state.tensor in read
                ),
                outputs=(end[-1].tensor,) if end else (value,),
            )
        )
    return Network(
        training=programs[0],
        inference=programs[1],
        initial={name: initial for name, (_, initial) in parameters.items()},
        initial_states=states,
        random={tensor.name: probability for block in training for tensor, probability in block.random},
        labels=owners,
        layers=tuple((label, layer) for layer, label in labels.items()),
        blocks=tuple(training),
        logits=logits,
        inference_logits=values[1][output],
        prediction=prediction,
        target=target,
        loss=end[-1].tensor if end else None,
    )


def _owned(blocks: Iterable[Block]) -> Iterable[tuple[Tensor, str]]:
    for block in blocks:
        for tensor in (
            *(t for t, _ in block.parameters),
            *(s.tensor for s, _ in block.states),
            *(t for t, _ in block.random),
            *(e.tensor for e in block.equations),
        ):
            yield tensor, block.label


def _ending(output: Tensor, target: Tensor, loss: Loss, decay: Sequence[tuple[Tensor, float]]) -> tuple[Equation, ...]:
    """The link's equation, where there is one, and the loss's with its weight decay (λ/2)·ΣW².

    The decays are added up one by one, so that each is an instance of one lemma, however many there are.
    """
    local = {"u": Tensor("u", output.shape), "t": Tensor("t", output.shape)}
    mapping = {local["u"]: output, local["t"]: target}
    text, before = "", ""
    for number, (weight, penalty) in enumerate(decay, 1):
        local[f"w{number}"] = Tensor(f"w{number}", weight.shape)
        mapping[local[f"w{number}"]] = weight
        mapping[Tensor(f"r{number}", ())] = Tensor(f"decay.{weight.name}", ())
        bound = ", ".join(("i", "j") if len(weight.shape) == 2 else (f"a{i + 1}" for i in range(len(weight.shape))))
        half = Fraction(str(penalty)) / 2
        text += f"r{number} = {before}{half.numerator}/{half.denominator} * sum[{bound}](w{number}[{bound}]**2)\n"
        before = f"r{number} + "
    text += loss.text(output.shape) + (f" + r{len(decay)}" if decay else "")
    equations: list[Equation] = []
    if loss.link:
        link = parse_equation(loss.link_text(output.shape), tensors=local)
        equations.append(link.over({**mapping, link.tensor: Tensor("prediction", output.shape)}))
    mapping[Tensor("e", (SAMPLES,))] = Tensor("sample_loss", (SAMPLES,))
    lines = parse_program(text, tensors=local)
    if lines[-1].tensor != Tensor("loss", ()):
        raise ModelError("a loss of one's own defines the scalar `loss`", about=text, fix='write "loss = mean[n](…)"')
    return (*equations, *(line.over(mapping) for line in lines))


def needed(program: Program, outputs: Iterable[str]) -> Program:
    """The part of a program that these tensors depend on."""
    wanted = set(outputs)
    kept: list[Equation] = []
    for equation in reversed(program.equations):
        if equation.tensor.name in wanted:
            kept.append(equation)
            wanted.update(tensor.name for tensor in tensors(equation.value))
    return Program(
        tuple(reversed(kept)),
        inputs=tuple(t for t in program.inputs if t.name in wanted),
        parameters=tuple(t for t in program.parameters if t.name in wanted),
        random=tuple(t for t in program.random if t.name in wanted),
        states=tuple(s for s in program.states if s.tensor.name in wanted),
        outputs=tuple(t for t in program.defined if t.name in set(outputs)),
    )
