"""LeNet on Fashion-MNIST as whole processes: `chainrule train fashion-mnist --model lenet`, and the same in PyTorch.

    python -m bench.fashion --epochs 5
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench.table import duration, markdown, times

MODEL = "lenet"
ROUNDS = 3


def torch_training(epochs: int, limit: int | None) -> None:
    """The network, batches, optimizer and schedule of the built-in model's file, with PyTorch's own initial values."""

    from bench.pytorch import network, torch
    from bench.workloads import LENET, Workload
    from chainrule.train.files import read_data

    batch, rate = 64, 0.002
    data = read_data("fashion-mnist")
    assert data.x_test is not None and data.y_test is not None
    torch.manual_seed(0)

    def tensors(x: Any, y: Any) -> tuple[Any, Any]:
        return torch.from_numpy(x.astype("float32")).reshape(len(x), 1, 28, 28), torch.from_numpy(y.astype("int64"))

    x, y = tensors(data.x[:limit], data.y[:limit])
    model = network(Workload("", "", (1, 28, 28), LENET, batch, 1, 1))
    for module in model:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    steps = epochs * math.ceil(len(x) / batch)

    def share(step: int) -> float:
        return (1 + math.cos(math.pi * step / steps)) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    loss: Any = torch.nn.CrossEntropyLoss()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    x_test, y_test = tensors(data.x_test, data.y_test)
    with torch.no_grad():
        right = int((model(x_test).argmax(1) == y_test).sum())
    print(f"held-out accuracy {right / len(y_test):.2%} ({right} of {len(y_test)})")


def process(command: list[str], cache: Path) -> tuple[float, str]:
    """(seconds, accuracy)."""
    start = perf_counter()
    environment = {**os.environ, "CHAINRULE_CACHE": str(cache)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"accuracy (\S+)", said.stdout)
    return perf_counter() - start, found.group(1) if found else "?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--limit", type=int, help="train on so many images only")
    parser.add_argument("--quick", action="store_true", help="one epoch over 6,400 images")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    epochs, limit = (1, 6400) if options.quick else (options.epochs, options.limit)
    if options.child:
        torch_training(epochs, limit)
        return
    from chainrule.train.files import FASHION

    if not FASHION.is_dir():
        print("Fashion-MNIST is not installed (Debian: dataset-fashion-mnist): this part is missing.")
        return
    more = ["--epochs", str(epochs), *(["--limit", str(limit)] if limit else [])]
    ours = [sys.executable, "-m", "chainrule.cli", "train", "fashion-mnist", "--model", MODEL, *more]
    theirs = [sys.executable, "-m", "bench.fashion", "--child", *more]
    found: dict[str, list[tuple[float, str]]] = {}
    for _ in range(1 if options.quick else ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            works = {"chainrule, first run": ours, "chainrule, from the cache": ours, "PyTorch eager": theirs}
            for name, command in works.items():
                found.setdefault(name, []).append(process(command, Path(folder)))
    seconds = {name: median(taken for taken, _ in each) for name, each in found.items()}
    slow = seconds["PyTorch eager"]
    rows = [
        [name, duration(taken), found[name][0][1], "" if taken is slow else times(slow / taken)]
        for name, taken in seconds.items()
    ]
    plural = "s" if epochs > 1 else ""
    print(
        f"LeNet on Fashion-MNIST, {limit or 60_000:,} images, {epochs} epoch{plural}, process start to end: medians of "
        f"{len(found['PyTorch eager'])}, by turns.\n"
    )
    print(markdown(["", "start to end", "held-out accuracy", "times as fast as PyTorch"], rows))


if __name__ == "__main__":
    main()
