"""From a graph of layers to programs: one for training, one for inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from chainrule.errors import ModelError
from chainrule.ir.check import check_program
from chainrule.ir.expr import LOSS, SAMPLE_LOSS, Add, Tensor
from chainrule.ir.program import Equation, Program, State, averaged, reads
from chainrule.ir.source import shorten
from chainrule.ir.template import bound
from chainrule.nn.initialisers import Initialiser
from chainrule.nn.layer import Block, Input, Layer, Node, instantiate
from chainrule.nn.losses import Loss


@dataclass(frozen=True)
class Network:
    """What a graph means. `training` and `inference` hold the layers' equations, the link's and the loss's;
    `labels` says which layer a tensor belongs to, `outputs` what each layer's last use gives in inference; `weight` is
    the input that holds the weights of samples, if any."""

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
    outputs: dict[str, Tensor]
    prediction: Tensor
    target: Tensor | None
    loss: Tensor | None
    weight: Tensor | None = None

    @property
    def inferred(self) -> Tensor:
        """What a prediction is: the link's value, or the output outside of training where the loss has no link."""
        return self.inference_logits if self.prediction is self.logits else self.prediction

    @property
    def letters(self) -> dict[str, str]:
        """What formulas write for the tensors and numbers of layers that say so: {"batchnorm1.m": "μ"}. No letter
        stands for two numbers: the first has it."""
        numbers: dict[str, str] = {}
        for _, layer in self.layers:
            numbers |= {number: own for number, own in layer.numbers.items() if own not in numbers.values()}
        named = {f"{label}.{name}": own for label, layer in self.layers for name, own in layer.letters.items()}
        return {**named, **numbers}

    def __repr__(self) -> str:
        return f"<network of {len(self.blocks)} uses of layers; print its training or inference>"


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


def assemble(inputs: Sequence[Input], output: Node, loss: Loss | None, l2: float, weight: int = 0) -> Network:
    """Build the programs. `weight` is the number of axes of the weights that samples have, 0 where they have none.

    Raises ModelError, ShapeError or EquationError, each naming the layer.
    """
    nodes = order(output)
    _check_inputs(inputs, nodes)
    given = _given(inputs)
    labels = _labels(nodes)
    uses, inference_uses = _blocks(nodes, given, labels)
    blocks, inference_blocks = tuple(uses.values()), tuple(inference_uses.values())
    parameters = _parameters(blocks)
    logits, inference_logits = _value(output, given, uses), _value(output, given, inference_uses)
    if inference_logits.shape != logits.shape:
        raise ModelError(f"training gives {logits.shape} and inference {inference_logits.shape}", about=labels)

    target = end = inference_end = weights = None
    if loss:
        _check_activation(loss, output, labels)
        target, decay = Tensor("target", logits.shape), _decay(labels, parameters, l2)
        weights = Tensor("weight", logits.shape[:weight]) if weight else None
        end, inference_end = (_ending(value, target, weights, loss, decay) for value in (logits, inference_logits))
    known = (*given.values(), *([target] if target else []), *([weights] if weights else []))
    constants = _constants(loss)
    training = _program(blocks, end, known, parameters, logits, constants)
    inference = _program(inference_blocks, inference_end, known, parameters, inference_logits, constants)
    inference = replace(inference, states=_kept(training.states, inference.equations))
    check_program(training)
    check_program(inference)
    return Network(
        training=training,
        inference=inference,
        initial={tensor.name: initial for tensor, initial in parameters.items()},
        initial_states={state.tensor.name: initial for block in blocks for state, initial in block.states}
        | {tensor.name: initial for tensor, initial in constants.items()},
        random={tensor.name: probability for block in blocks for tensor, probability in block.random},
        labels=_owners(blocks),
        layers=tuple((label, layer) for layer, label in labels.items()),
        blocks=blocks,
        logits=logits,
        inference_logits=inference_logits,
        outputs={block.label: block.output for block in inference_blocks},
        prediction=end[0].tensor if end and loss and loss.link else logits,
        target=target,
        loss=end[-1].tensor if end else None,
        weight=weights,
    )


def _check_inputs(inputs: Sequence[Input], nodes: Sequence[Node]) -> None:
    """Raises ModelError unless the inputs are exactly those that the output depends on."""
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


def _given(inputs: Sequence[Input]) -> dict[Node, Tensor]:
    """The tensor of each input: "input", or "input1", "input2", … where there are several."""
    names = ["input"] if len(inputs) == 1 else [f"input{i + 1}" for i in range(len(inputs))]
    return {node: Tensor(name, node.shape, node.dtype) for name, node in zip(names, inputs, strict=True)}


def _labels(nodes: Iterable[Node]) -> dict[Layer, str]:
    """A name for each layer: its own, or its class and a number, as in "dense2".

    Raises ModelError where two layers have one name, or where a name is none.
    """
    labels: dict[Layer, str] = {}
    counts: Counter[str] = Counter()
    for layer in dict.fromkeys(node.layer for node in nodes if node.layer is not None):
        stem = type(layer).__name__.lower()
        counts[stem] += 1
        labels[layer] = layer.label or f"{stem}{counts[stem]}"
        if layer.label and not (layer.label.isidentifier() and layer.label[0] != "_"):
            raise ModelError(
                f"a layer is called {shorten(ascii(layer.label))}", about=type(layer).__name__,
                fix="names are letters, digits and _, and begin with a letter",
            )
    twice = [label for label, count in Counter(labels.values()).items() if count > 1]
    if twice:
        raise ModelError(f"two layers are called {twice[0]!r}", fix="give each a label of its own")
    return labels


def _blocks(
    nodes: Iterable[Node], given: Mapping[Node, Tensor], labels: Mapping[Layer, str]
) -> tuple[dict[Node, Block], dict[Node, Block]]:
    """Every use of a layer, for training and for inference. From the second use on its tensors have a suffix, and
    training begins with the states that the use before has left."""
    training: dict[Node, Block] = {}
    inference: dict[Node, Block] = {}
    uses: Counter[Layer] = Counter()
    left: dict[Tensor, Tensor] = {}
    for node in nodes:
        layer = node.layer
        if layer is None:
            continue
        uses[layer] += 1
        suffix = f"_{uses[layer]}" if uses[layer] > 1 else ""
        for blocks, outside in ((training, False), (inference, True)):
            parents = [_value(parent, given, blocks) for parent in node.parents]
            before = {} if outside else left
            block = instantiate(layer, labels[layer], parents, suffix=suffix, inference=outside, left=before)
            left |= {state.tensor: state.next for state, _ in block.states}
            blocks[node] = block
    return training, inference


def _value(node: Node, given: Mapping[Node, Tensor], blocks: Mapping[Node, Block]) -> Tensor:
    return given[node] if node in given else blocks[node].output


def _parameters(blocks: Iterable[Block]) -> dict[Tensor, Initialiser]:
    """The parameters and how they start. Raises ModelError where two uses of a layer need different shapes, of states
    too."""
    parameters: dict[str, tuple[Tensor, Initialiser]] = {}
    states: dict[str, tuple[Tensor, Initialiser]] = {}
    for block in blocks:
        moved = ((state.tensor, initial) for state, initial in block.states)
        for kept, own in ((parameters, block.parameters), (states, moved)):
            for tensor, initial in own:
                known, _ = kept.setdefault(tensor.name, (tensor, initial))
                if known != tensor:
                    raise ModelError(
                        f"{block.label} is used twice, with inputs that need {tensor.name} of shapes "
                        f"{known.shape} and {tensor.shape}",
                        fix="make a layer for each use",
                    )
    return dict(parameters.values())


def _check_activation(loss: Loss, output: Node, labels: Mapping[Layer, str]) -> None:
    """Raises ModelError where the model ends with the activation that the loss contains."""
    if loss.included and output.layer and type(output.layer).__name__ == loss.included:
        raise ModelError(
            f"the loss {loss.name} contains the {loss.included.lower()}, and so does the model",
            about=labels[output.layer],
            fix=f"remove the last {loss.included}()",
        )


def _decay(labels: Mapping[Layer, str], parameters: Iterable[Tensor], l2: float) -> list[tuple[Tensor, float]]:
    """The weights that decay, those of two axes or more, and how strongly: a layer's own l2 goes before the model's."""
    return [
        (tensor, penalty)
        for layer, label in labels.items()
        for tensor in parameters
        if tensor.name.startswith(f"{label}.")
        and len(tensor.shape) >= 2
        and (penalty := l2 if layer.l2 is None else layer.l2) > 0
    ]


def _program(
    blocks: Iterable[Block],
    end: tuple[Equation, ...] | None,
    inputs: tuple[Tensor, ...],
    parameters: Iterable[Tensor],
    logits: Tensor,
    constants: Iterable[Tensor],
) -> Program:
    """The layers' equations and then those at the end. Its output is the loss, where there is one, or the logits."""
    left = {state.tensor: state for block in blocks for state, _ in block.states}  # by the last use of each layer
    return Program(
        (*(equation for block in blocks for equation in block.equations), *(end or ())),
        inputs=inputs,
        parameters=tuple(parameters),
        random=tuple(tensor for block in blocks for tensor, _ in block.random),
        states=(*left.values(), *(State(tensor, tensor) for tensor in constants)),
        outputs=(end[-1].tensor if end else logits,),
    )


def _constants(loss: Loss | None) -> dict[Tensor, Initialiser]:
    """The vector that the loss reads, if any: a state that keeps its value."""
    if loss is None or loss.constant is None:
        return {}
    name, values = loss.constant
    shape = (len(values),)
    return {Tensor(name, shape): Initialiser(shape, lambda rng, extents: np.array(values))}


def _kept(states: Iterable[State], equations: Iterable[Equation]) -> tuple[State, ...]:
    """The states that these equations read, each of which keeps its value."""
    read = set(reads(equations))
    return tuple(State(state.tensor, state.tensor) for state in states if state.tensor in read)


def _owners(blocks: Iterable[Block]) -> dict[str, str]:
    """The label of the layer that each tensor belongs to."""
    owners: dict[str, str] = {}
    for block in blocks:
        for tensor in (
            *(tensor for tensor, _ in block.parameters),
            *(state.tensor for state, _ in block.states),
            *(tensor for tensor, _ in block.random),
            *(equation.tensor for equation in block.equations),
        ):
            owners[tensor.name] = block.label
    return owners


def _ending(
    output: Tensor, target: Tensor, weights: Tensor | None, loss: Loss, decay: Sequence[tuple[Tensor, float]]
) -> tuple[Equation, ...]:
    """The link's equation, where there is one, and the loss's with its weight decay (λ/2)·ΣW².

    The decays are added up one by one, so that each is an instance of one lemma, however many there are.
    """
    given = {"u": output, "t": target} | ({"w": weights} if weights else {})
    given |= dict(zip("v", _constants(loss), strict=False))
    link: list[Equation] = []
    if loss.link:
        link = bound(loss.link_text(output.shape), given, lambda _: Tensor("prediction", output.shape))
    text = loss.text(output.shape, len(weights.shape) if weights else 0)
    equations = bound(text, given, lambda made: LOSS if made == Tensor("loss", ()) else made)
    if not equations or equations[-1].tensor != LOSS:
        raise ModelError("a loss of one's own defines the scalar `loss`", about=text, fix='write "loss = mean[n](…)"')
    *lines, last = equations
    if (e := averaged(last)) is not None and e in [line.tensor for line in lines]:
        lines, last = [line.over({e: SAMPLE_LOSS}) for line in lines], last.over({e: SAMPLE_LOSS})
    decays = _decays(decay)
    if decays:
        terms = last.value.terms if isinstance(last.value, Add) else (last.value,)
        last = Equation(last.target, Add((*terms, decays[-1].target)))
    return (*link, *decays, *lines, last)


def _decays(decay: Sequence[tuple[Tensor, float]]) -> list[Equation]:
    """The sum of the first decay, of the first two, and so on."""
    equations: list[Equation] = []
    for weight, penalty in decay:
        own = ", ".join(("i", "j") if len(weight.shape) == 2 else (f"a{i + 1}" for i in range(len(weight.shape))))
        half = Fraction(str(penalty)) / 2
        given = {"w": weight} | ({"before": equations[-1].tensor} if equations else {})
        square = f"{half.numerator}/{half.denominator} * sum[{own}](w[{own}]**2)"
        text = f"r = before + {square}" if equations else f"r = {square}"
        equations += bound(text, given, lambda _, weight=weight: Tensor(f"decay.{weight.name}", ()))
    return equations


def check_inference(network: Network) -> None:
    """Raises ModelError where a layer draws at random what a prediction would have to draw too."""
    for tensor in network.inference.random:
        raise ModelError(
            f"{tensor.name} is drawn at random, and nothing says what it is in a prediction",
            about=network.labels[tensor.name], fix='give the layer its own: inference = "y[n, k] = …"',
        )


def needed(program: Program, outputs: Iterable[str]) -> Program:
    """The part of a program that these tensors depend on."""
    wanted = set(outputs)
    kept: list[Equation] = []
    for equation in reversed(program.equations):
        if equation.tensor.name in wanted:
            kept.append(equation)
            wanted.update(tensor.name for tensor in equation.value.tensors)
    return Program(
        tuple(reversed(kept)),
        inputs=tuple(t for t in program.inputs if t.name in wanted),
        parameters=tuple(t for t in program.parameters if t.name in wanted),
        random=tuple(t for t in program.random if t.name in wanted),
        states=tuple(s for s in program.states if s.tensor.name in wanted),
        outputs=tuple(t for t in program.defined if t.name in set(outputs)),
    )
