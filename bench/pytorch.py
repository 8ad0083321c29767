"""PyTorch: eager, compiled, and with channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.contender import UnavailableError, library
from bench.workloads import Activation, Conv, Data, Dense, Pool, Workload

torch = library("torch")
nn = torch.nn
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


def network(workload: Workload) -> Any:
    """The network with the workload's initial values."""
    modules: list[Any] = []
    for layer, before, _ in workload.walk():
        match layer:
            case Dense(units=units):
                size = 1
                for extent in before:
                    size *= extent
                modules += [nn.Flatten()] if len(before) > 1 else []
                modules.append(nn.Linear(size, units))
            case Conv(filters=filters, size=size, stride=stride, padding=padding):
                modules.append(nn.Conv2d(before[0], filters, size, stride, padding))
            case Pool(kind=kind, size=size, stride=stride):
                modules.append((nn.MaxPool2d if kind == "max" else nn.AvgPool2d)(size, stride))
            case Activation(name=name):
                modules.append(ACTIVATIONS[name]())
    result = nn.Sequential(*modules)
    take(result, workload)
    return result


def take(model: Any, workload: Workload) -> None:
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), workload.initial(), strict=True):
            parameter.copy_(torch.from_numpy(value))
            parameter.grad = None


class PyTorch:
    """The usual loop over batches that lie ready as tensors."""

    name = "PyTorch eager"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        torch.set_num_threads(threads)
        self.workload = workload
        self.model = self.prepared(network(workload))
        self.batches = self.tensors(data)
        self.loss: Any = nn.CrossEntropyLoss() if workload.loss == "cross-entropy" else nn.MSELoss()
        self.step_loss: Any = self.eager_loss
        self.reset()

    def prepared(self, value: Any) -> Any:
        """A module or a tensor in the memory format of this contender."""
        return value

    def tensors(self, data: Data) -> list[tuple[Any, Any]]:
        pairs = data.batches(self.workload.batch)
        return [(self.prepared(torch.from_numpy(x)), torch.from_numpy(y)) for x, y in pairs]

    def eager_loss(self, x: Any, y: Any) -> Any:
        return self.loss(self.model(x), y)

    def reset(self) -> None:
        take(self.model, self.workload)
        rule = torch.optim.SGD if self.workload.optimizer == "sgd" else torch.optim.Adam
        self.optimizer: Any = rule(self.model.parameters(), lr=self.workload.rate)

    def step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        loss = self.step_loss(x, y)
        loss.backward()
        self.optimizer.step()
        return loss

    def train(self, epochs: int) -> None:
        for _ in range(epochs):
            for x, y in self.batches:
                self.step(x, y)

    def losses(self, data: Data) -> Sequence[float]:
        self.reset()
        return [float(self.step(x, y).detach()) for x, y in self.tensors(data)]


class ChannelsLast(PyTorch):
    name = "PyTorch channels-last"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        if workload.is_flat:
            raise UnavailableError("no convolutions")
        super().__init__(workload, data, threads)

    def prepared(self, value: Any) -> Any:
        return value.to(memory_format=torch.channels_last)


class Compiled(PyTorch):
    """Network and loss through torch.compile."""

    name = "PyTorch compiled"

    def __init__(self, workload: Workload, data: Data, threads: int) -> None:
        super().__init__(workload, data, threads)
        self.step_loss = torch.compile(self.step_loss)
        try:
            self.step(*self.batches[0])
        except Exception as error:  # its compiler raises whatever went wrong inside
            raise UnavailableError(f"torch.compile fails: {str(error).splitlines()[0][:100]}") from error
