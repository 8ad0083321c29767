"""PyTorch modules as models of ours: `torch.export` says what a module calls, and a table what each call is here.

    model = cr.from_torch(module, example, loss="softmax_cross_entropy")

The calls are those that the module makes (ATen, not decomposed), so an attention is one of them. PyTorch writes those
that the table lacks in others that it has, where it knows how.
"""
# PyTorch is only partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from chainrule.errors import ChainruleError, DataError, ModelError
from chainrule.interop.aten import AVERAGING, ROWS, SOFT
from chainrule.interop.aten_moves import MOVES, OPEN, VIEWS, Fixed, size_samples, sizes, view_of
from chainrule.interop.graph import Graph
from chainrule.interop.views import View, permuted
from chainrule.ir.source import shorten
from chainrule.nn.losses import Loss
from chainrule.train.model import Model


def from_torch(
    module: Any, example: Any, *, loss: str | Loss | None = None, l2: float = 0.0, samples: int = 0, output: int = 0
) -> Model:
    """The network of a PyTorch module, with its weights: derived, checked, trained and saved as any model.

    `example` is what the module is called on, a tensor or a tuple of them; only shapes and types matter. The axis
    `samples` counts the samples, as many as there are later; what a layer does in training (batch normalisation,
    dropout), it does here in training. Where the module returns several tensors, the model is that of number `output`.
    Layers are called as their modules are, with _ for the dots: "layer1_0_conv1.W". Parameters that need no gradient
    are frozen; in a layer that learns they are constants.

    Raises ModelError for a call that the table lacks, or through which no gradient goes (detach, no_grad), with its
    place in the module and the line of code; where PyTorch cannot export the module; or where samples are not
    independent of each other. Needs the extra `torch`.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError('PyTorch is not installed: pip install "chainrule[torch]"') from None
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{shorten(repr(module), 60)} is no torch.nn.Module", fix="give the module, not its output")
    tensors = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor) or tensor.dim() <= samples or not 0 <= samples:
            raise DataError(
                f"the example is {shorten(repr(tensor), 60)}", about="from_torch",
                fix=f"give tensors as the module takes them, with an axis {samples} of samples",
            )
    program = _exported(torch, module, tuple(_several(tensor, samples) for tensor in tensors), samples)
    shared, constant = set[str](), set[str]()
    while True:
        importing = _Import(torch, program, samples, shared, constant)
        view = importing.output(output)
        graph, divided = importing.graph, importing.graph.divided(importing.fixed)
        if not graph.conflicts and not divided:
            break
        shared |= graph.conflicts
        constant |= divided
    double = torch.float64 in {tensor.dtype for tensor in (*module.parameters(), *tensors)}
    model = graph.finished(view, loss, l2, "float64" if double else "float32")
    frozen = graph.owners(importing.fixed)
    if frozen:
        model.freeze(*frozen)
    return model


def _several(tensor: Any, axis: int) -> Any:
    """An example of at least two samples: PyTorch takes one for a number that stays."""
    return tensor if tensor.shape[axis] > 1 else tensor.repeat_interleave(3, axis)


def _exported(torch: Any, module: Any, example: tuple[Any, ...], samples: int) -> Any:
    """What the module calls in training, the number of samples open, each call a function of its arguments. Python's
    len fixes that number, unless PyTorch reads the module's code rather than run it, which it does not do as often."""
    modes = {part: part.training for part in module.modules()}
    shapes: tuple[Any, ...] = tuple({samples: torch.export.Dim.AUTO} for _ in example)
    kinds = [parameter.kind for parameter in signature(module.forward).parameters.values()]
    if Parameter.VAR_POSITIONAL in kinds:  # what *args takes is one argument to PyTorch
        named = kinds.index(Parameter.VAR_POSITIONAL)
        shapes = (*shapes[:named], *filter(None, [shapes[named:]]))

    def exported(strict: bool, training: bool = True) -> Any:
        module.train(training)
        with torch.backends.opt_einsum.flags(enabled=False):  # which would take the number of samples for one
            return torch.export.export(module, example, dynamic_shapes=shapes, strict=strict)

    found: tuple[Any, Mapping[str, str], Mapping[str, str]] | None = None
    try:
        for strict in (False, True):
            program = exported(strict)
            given = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"][-len(example) :]
            if all(size_samples(value.shape[samples], {})[1] for value in given):
                on = _switched(program)
                found = program, on, _switched(exported(strict, training=False)) if on else {}
                break
    except Exception as error:  # PyTorch raises what it likes here
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            f"PyTorch cannot export the module: {shorten(said, 200)}", about=type(module).__name__,
            fix="see that module(example) runs, and that no branch depends on values",
        ) from None
    finally:
        for part, mode in modes.items():
            part.training = mode
    if found is None:
        raise ModelError(
            "the module is of a fixed number of samples", about=type(module).__name__,
            fix="ask for it by x.shape[0], and see that nothing depends on it",
        )
    program, on, stuck = found
    for where in on.keys() & stuck:
        raise ModelError(
            f"{on[where]} does the same outside training as in it", about=where, fix="give it training=self.training"
        )
    return _spelled(torch, _plainly(torch, program))


def _switched(program: Any) -> dict[str, str]:
    """Where the user's own code calls what does something else in training, and does so: the calls, by place. Modules
    of PyTorch's own know whether they train."""
    found: dict[str, str] = {}
    for node in program.graph.nodes:
        if any(str(kind).startswith("torch.nn.") for _, kind in _modules(node)[-1:]):
            continue
        for place, argument in enumerate(getattr(getattr(node.target, "_schema", None), "arguments", ())):
            if argument.name in ("training", "train") and True in node.args[place : place + 1]:
                found[_where(node, _path(node))] = _name(node).split(".")[0].rstrip("_")
    return found


def _plainly(torch: Any, program: Any) -> Any:
    """The program, where it has to be written anew: without calls that change what others read in place, and with the
    calls of parts for which the user turned gradients off among the others, what comes out of them detached."""
    apart = [node for node in program.graph.nodes if str(node.target) == "wrap_with_set_grad_enabled"]
    for node in apart:
        for taken in [] if node.args[0] else [*node.users]:
            with program.graph.inserting_after(taken):
                cut = program.graph.call_function(torch.ops.aten.detach.default, (taken,))
            cut.meta = dict(taken.meta)
            taken.replace_all_uses_with(cut)
            cut.args = (taken,)
    return program.run_decompositions({}) if apart or _overwrites(program) else program


def _spelled(torch: Any, program: Any) -> Any:
    """The program, each call that has no row written in others by PyTorch, where all of these have."""
    first = _lacking(program)
    if not first:
        return program
    known = dict(torch.export.default_decompositions().items())
    for call in first:
        tried, left, seen = program, {call}, set[Any]()
        while new := (left & known.keys()) - seen:
            tried, seen = tried.run_decompositions({each: known[each] for each in new}), seen | new
            left = {*_lacking(tried)}.difference(first)
        program = program if left else tried
    return program


def _lacking(program: Any) -> list[Any]:
    """What a program calls, on values that change, and no row is about."""
    fixed = {*program.graph_signature.inputs_to_buffers, *program.graph_signature.inputs_to_lifted_tensor_constants}
    changing, found = set[Any](), dict[Any, None]()
    for node in program.graph.nodes:
        if (node.op == "placeholder" and node.name not in fixed) or any(n in changing for n in node.all_input_nodes):
            changing.add(node)
            if _name(node) and "sym_" not in _name(node) and _name(node) not in ROWS:
                found[node.target] = None
    return [*found]


def _overwrites(program: Any) -> bool:
    """Whether a call changes in place what others read; what only counts does not matter."""
    for node in program.graph.nodes:
        arguments = node.target._schema.arguments if hasattr(node.target, "_schema") else ()
        for argument, value in zip(arguments, node.args, strict=False):
            counts = not node.users and getattr(value, "op", "") == "placeholder" and len(value.users) == 1
            if argument.alias_info and argument.alias_info.is_write and not counts:
                return True
    return False


class _Import:
    """One reading of an exported program. Those of its parameters that are `constant` stand in layers that learn."""

    def __init__(self, torch: Any, program: Any, samples: int, shared: set[str], constant: set[str]) -> None:
        self.torch, self.program, self.samples = torch, program, samples
        signature = program.graph_signature
        self.state = {**program.state_dict, **program.constants}
        parameters = {name: self.state[name].detach() for name in signature.parameters if name not in constant}
        self.fixed = {name for name in parameters if not self.state[name].requires_grad}
        arrays = {name: tensor.cpu().numpy() for name, tensor in parameters.items()}
        self.graph = Graph(arrays, set(arrays), shared)
        self.names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.names |= dict(getattr(signature, "inputs_to_lifted_tensor_constants", {}))
        self.values: dict[Any, Any] = {}
        self.modules: dict[str, int] = {}
        self.known: dict[Any, int] = {}

    def output(self, number: int) -> View:
        """The value that the program returns as this output."""
        nodes = list(self.program.graph.nodes)
        returned = next(node for node in nodes if node.op == "output").args[0]
        kinds = [spec.kind.name == "USER_OUTPUT" for spec in self.program.graph_signature.output_specs]
        users = [node for node, own in zip(returned, kinds, strict=True) if own]
        if not 0 <= number < len(users):
            raise ModelError(f"the module returns {len(users)} tensors", fix="choose one of them by output=0")
        needed = self._needed(nodes, users[number])
        for node in nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node in needed:
                self._call(node)
        result = self.values[users[number]]
        if not isinstance(result, View):
            self.graph.refuse("the output is the same for all samples", "return a value of the network")
        return result

    def _needed(self, nodes: Sequence[Any], result: Any) -> set[Any]:
        """The calls that a result depends on. Raises ModelError where one reads a buffer that training changes."""
        found, left = set[Any](), [result]
        while left:
            node = left.pop()
            if node not in found:
                found.add(node)
                left += node.all_input_nodes
        for node in nodes:
            self.modules[_path(node)] = self.modules.get(_path(node), 0) + (node.op == "call_function")
        changed = {s.target for s in self.program.graph_signature.output_specs if s.kind.name == "BUFFER_MUTATION"}
        for node in found:
            read = [self.names[arg.name] for arg in node.all_input_nodes if self.names.get(arg.name) in changed]
            if read and _name(node) not in AVERAGING:
                self._place(node, _name(node))
                self.graph.refuse(
                    f"the buffer {read[0]} is read, and training changes it", "write it as a cr.Layer with a state"
                )
        return found

    def _placeholder(self, node: Any) -> None:
        value, name = node.meta["val"], self.names.get(node.name)
        if name in self.graph.trained:
            self.values[node] = self.graph.weight(name)
        elif name is not None:
            self.values[node] = Fixed(self.state[name].detach(), name)
        elif hasattr(value, "shape"):
            shape = [int(extent) for axis, extent in enumerate(value.shape) if axis != self.samples]
            if not value.dtype.is_floating_point and value.dtype != self.torch.bool and value.dtype.is_complex:
                raise DataError(f"the input {node.name} is of {value.dtype}", fix="give real or whole numbers")
            view = self.graph.input(shape, integer=not value.dtype.is_floating_point)
            order = [*range(1, self.samples + 1), 0, *range(self.samples + 1, len(shape) + 1)]
            self.values[node] = permuted(view, order)
        else:
            self.values[node] = value

    def _call(self, node: Any) -> None:
        taken = node.target is operator.getitem
        name = _name(node.args[0] if taken else node)
        self._place(node, name)
        if taken:
            whole = self.values[node.args[0]]
            found = whole[node.args[1]]
            if found is None:
                self.graph.refuse("where the greatest value stands is no function of values", "use the values alone")
            self.values[node] = found
        elif not name or "sym_" in name:  # sizes, and arithmetic on them
            self.values[node] = node.meta["val"]
        elif not any(isinstance(self.values[arg], View) for arg in node.all_input_nodes) and self._static(node):
            self.values[node] = self._computed(node)
        else:
            self.values[node] = self._row(node, name)

    def _place(self, node: Any, name: str) -> None:
        """Say to the graph which call this is."""
        call, found = self.graph.call, node.meta.get("val")
        call.path, call.name = _path(node), name.split(".")[0].rstrip("_")
        call.where, call.single = _where(node, call.path), self.modules[call.path] == 1
        tensors = _tensors(found)
        call.sizes, call.soft = [sizes(v, self.known) for v in tensors], _softened(node)
        given = [arg.meta["val"] for arg in node.all_input_nodes if hasattr(arg.meta.get("val"), "dtype")]
        real = any(v.dtype.is_floating_point for v in given)
        call.rounded = real and any(not v.dtype.is_floating_point for v in tensors if v.dtype != self.torch.bool)
        call.logical = any(v.dtype == self.torch.bool for v in given)

    def _computed(self, node: Any) -> Any:
        """What a call gives that no input reaches: computed now."""
        plain = [_plain(self._argument(arg)) for arg in node.args]
        more = {key: _plain(self._argument(arg)) for key, arg in node.kwargs.items()}
        found = node.target(*plain, **more)
        self._learnt(node, [part.shape for part in _tensors(found)])
        if isinstance(found, (list, tuple)):
            return [Fixed(part, f"{node.name}_{k}") for k, part in enumerate(found)]
        name = next((v.name for v in map(self._argument, node.args[:1]) if isinstance(v, Fixed)), node.name)
        return Fixed(found, name if name in self.names.values() else node.name)

    def _argument(self, arg: Any) -> Any:
        if isinstance(arg, (list, tuple)):
            return [self._argument(part) for part in arg]
        return self.values[arg] if hasattr(arg, "op") and hasattr(arg, "meta") else arg

    def _static(self, node: Any) -> bool:
        """Whether a value does not depend on the number of samples."""
        return not any(samples for v in _tensors(node.meta["val"]) for _, samples in sizes(v, self.known))

    def _learnt(self, node: Any, made: Sequence[Sequence[int]]) -> None:
        """Note the extents that PyTorch has left open in what a call gives, which is of these shapes."""
        for value, shape in zip(_tensors(node.meta["val"]), made, strict=False):
            for extent, size in zip(value.shape, shape, strict=True):
                if size_samples(extent, self.known) == OPEN:
                    self.known[extent.node.expr] = size

    def _row(self, node: Any, name: str) -> Any:
        row = ROWS.get(name)
        if row is None:
            self.graph.refuse(
                f"there is no row for PyTorch's {name}", "write it with other functions, or as a cr.Layer of your own"
            )
        rest = node.target._schema.arguments[len(node.args) :]
        said = (a for a in rest if not a.kwarg_only or a.name in SAID)
        args = [*node.args, *(node.kwargs.get(a.name, a.default_value) for a in said)]
        given = [self._argument(arg) for arg in args]
        if name in MOVES and isinstance(given[0], Fixed):
            given[0] = view_of(self.graph, given[0])
        try:
            found = row(self.graph, *given)
        except ChainruleError as error:  # a layer's own says nothing of the place
            self.graph.refuse(error.problem, error.fix)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, AssertionError) as error:
            said = shorten(repr(error), 100)
            self.graph.refuse(f"PyTorch's {name} is called in a way that is not understood: {said}", "report it")
        made = found if isinstance(found, list) else [found]
        self._learnt(node, [[size for size, _ in view.sizes] for view in made if isinstance(view, View)])
        for view, size in zip(made, (sizes(v, self.known) for v in _tensors(node.meta["val"])), strict=False):
            if isinstance(view, View) and view.sizes != size:
                self.graph.refuse(f"{name} is {size}, and {view.sizes} here", "this is a fault of chainrule: report it")
        return found


SAID = {"alpha", "beta", "approximate", "scale", "enable_gqa", "correction", "keepdim", "value"}
"""The arguments by keyword alone that rows read, in the order in which PyTorch has them."""


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.tensor if isinstance(value, Fixed) else value


def _tensors(found: Any) -> list[Any]:
    """The tensors among what a call gives."""
    return [v for v in (found if isinstance(found, (list, tuple)) else [found]) if hasattr(v, "shape")]


def _softened(node: Any) -> bool:
    """Whether all that reads a value, moves and sums aside, is a softmax or the like."""
    name = _name(node)
    if name in SOFT:
        return True
    left = list(node.users)
    while left:
        user = left.pop()
        name = _name(user)
        if name in VIEWS or name in ("add.Tensor", "masked_fill.Scalar", "masked_fill.Tensor", "clone"):
            if not user.users:
                return False
            left += user.users
        elif name not in SOFT:
            return False
    return bool(node.users)


def _name(node: Any) -> str:
    return str(node.target).removeprefix("aten.").removesuffix(".default") if hasattr(node.target, "_schema") else ""


def _modules(node: Any) -> list[tuple[str, Any]]:
    return list((node.meta.get("nn_module_stack") or {}).values())


def _path(node: Any) -> str:
    """The path of the module that makes a call, "layer1.0.conv1"."""
    stack = _modules(node)
    return str(stack[-1][0]).removeprefix("L['self'].") if stack else ""


def _where(node: Any, path: str) -> str:
    """Where a call stands: the module, and the last line of the user's own code."""
    frames = [frame.strip() for frame in (node.meta.get("stack_trace") or "").split("File ") if frame.strip()]
    own = [frame for frame in frames if "/torch/" not in frame.split(",")[0]] or frames
    line = ", ".join(" ".join(part.split()) for part in own[-1].splitlines()) if own else ""
    return ", ".join(filter(None, (f"the module {path}" if path else "the module", line)))
