"""A network as a `torch.nn.Module`: its forward pass printed, its weights where `load_state_dict` finds them.

Where training differs from inference, as with batch normalisation and dropout, both are printed, and `train()` and
`eval()` choose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version

from chainrule.arrays.ids import Limits
from chainrule.derive.written import evaluated
from chainrule.ir.expr import Tensor
from chainrule.ir.index import SAMPLES
from chainrule.ir.print import spelled
from chainrule.ir.program import Equation, Program
from chainrule.nn.network import Network, needed
from chainrule.render.libraries import TORCH
from chainrule.render.listing import Function, filled
from chainrule.render.module import joined

LAYER = '''
def layer(**shapes):
    """What a layer learns, by name."""
    made = torch.nn.Module()
    for name, shape in shapes.items():
        made.register_parameter(name, torch.nn.Parameter(torch.zeros(shape{dtype})))
    return made
'''
LOAD = '''
def load():
    """The network with the weights of the file beside this one."""
    network = Network()
    network.load_state_dict(load_file(Path(__file__).with_suffix(".safetensors")))
    return network.eval()
'''


def kept(network: Network) -> list[Tensor]:
    """The parameters and states that the module has, in order."""
    programs = _programs(network)
    found = [t for p in programs for t in (*p.parameters, *(s.tensor for s in p.states))]
    return [*dict.fromkeys(found)]


def module(network: Network, *, double: bool) -> str:
    """The file. Raises DerivationError for what has no word in PyTorch."""
    inference, training = _programs(network)
    names = _Names(network)
    drawn = bool(training.random or training.states)
    head = "predicted" if drawn else "forward"
    bodies = [names.method(head, inference, network.inference_logits)]
    inputs = ", ".join(names.words[t.name] for t in inference.inputs)
    if drawn:
        bodies = [
            f"    def forward(self, {inputs}):\n"
            f"        return self.trained({inputs}) if self.training else self.predicted({inputs})",
            *bodies, names.method("trained", training, network.logits),
        ]
    shapes = " and ".join(f"{names.words[t.name]} ({', '.join(map(str, t.shape))})" for t in inference.inputs)
    ending = ", ".join(map(str, network.logits.shape))
    says = f'    """From {shapes} to the output of the last layer ({ending})."""'
    text = "\n\n".join([f"class Network(torch.nn.Module):\n{says}", names.made(kept(network), double=double), *bodies])
    helpers = [code for name, code in TORCH.helpers.items() if name in names.helpers]
    imports = ["from pathlib import Path", "", "import torch", "from safetensors.torch import load_file"]
    layer = LAYER.format(dtype=", dtype=torch.float64" if double else "").strip("\n")
    lead = f"A network for PyTorch, printed by chainrule {version('chainrule')}; its weights are in the file beside."
    return f'"""{lead}"""\n\n' + joined(imports, helpers, [layer, text, LOAD.strip("\n")])


def _programs(network: Network) -> tuple[Program, Program]:
    """What is computed outside of training, and in it, where the states move."""
    moving = [s for s in network.training.states if s.next is not s.tensor]
    inference = evaluated(needed(network.inference, [network.inference_logits.name]))[0]
    wanted = [network.logits.name, *(s.next.name for s in moving)]
    training = evaluated(needed(network.training, wanted))[0]
    return inference, training


class _Names:
    """The words of a module: what a layer keeps is self.dense1.W, a value dense1_u."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.helpers: set[str] = set()
        self.before = ""
        self.words: dict[str, str] = {}
        own = {t.name for t in kept(network)}
        programs = _programs(network)
        for tensor in dict.fromkeys(t for p in programs for t in (*p.given, *p.defined)):
            word = re.sub(r"\W", "_", spelled(tensor))
            word = word.replace("input", "x") if tensor in network.training.inputs else word
            while word in ("self", "torch", SAMPLES, *self.words.values()):
                word += "_"
            self.words[tensor.name] = f"self.{tensor.name}" if tensor.name in own else word

    def made(self, tensors: Sequence[Tensor], *, double: bool) -> str:
        """The constructor: a part for each layer."""
        learnt = {t.name for t in self.network.training.parameters}
        lines = ["def __init__(self):", "    super().__init__()"]
        for label in dict.fromkeys(t.name.partition(".")[0] for t in tensors):
            own = [t for t in tensors if t.name.partition(".")[0] == label]
            shapes = [f"{t.name.partition('.')[2]}={_shape(t)}" for t in own if t.name in learnt]
            lines += [f"    {line}" for line in filled(f"self.{label} = layer(", shapes, ")", "    ")]
            for tensor in own:
                if tensor.name not in learnt:
                    zeros = f"torch.zeros({_shape(tensor)}{', dtype=torch.float64' if double else ''})"
                    lines.append(f'    self.{label}.register_buffer("{tensor.name.partition(".")[2]}", {zeros})')
        return "\n".join(f"    {line}" for line in lines)

    def method(self, name: str, program: Program, outcome: Tensor) -> str:
        """A method from the inputs to a value; what is drawn is drawn, and the states move."""
        given = (*program.inputs, *program.parameters, *(s.tensor for s in program.states), *program.random)
        made = Function(TORCH, self.words, given, Limits(program.equations, program.inputs))
        lines = list[str]()
        for tensor in program.random:
            share = self.network.random[tensor.name]
            made.sized = made.sized or SAMPLES in tensor.shape
            shape = f"({', '.join(map(str, tensor.shape))}{',' if len(tensor.shape) == 1 else ''})"
            value = f"torch.rand({shape}).to({made.like})" if share is None else (
                f"torch.bernoulli({made.like}.new_full({shape}, {share!r}))"
            )
            lines.append(f"{self.words[tensor.name]} = {value}")
        lines += made.lines(program.equations, self.said)
        self.helpers |= made.helpers
        for state in program.states:
            if state.next is not state.tensor:
                lines.append(f"{self.words[state.tensor.name]}.copy_({self.words[state.next.name]}.detach())")
        inputs = [self.words[t.name] for t in program.inputs]
        lines = [*made.head(), *lines, f"return {self.words[outcome.name]}"]
        head = filled(f"def {name}(", ["self", *inputs], "):", "    ")
        return "\n".join(f"    {line}" for line in [*head, *(f"    {line}" for line in lines)])

    def said(self, equation: Equation) -> list[str]:
        """Which layer a statement is the first of."""
        labels = self.network.labels
        label = labels.get(equation.tensor.name, "")
        if label == self.before:
            return []
        self.before = label
        return [f"# {label}"] if label else []


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))}{',' if len(tensor.shape) == 1 else ''})"
