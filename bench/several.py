"""Many small models: 16 that are trained together, beside 16 fits; a grid search beside scikit-learn's own network.

    python -m bench.several together        # 64-32-10 on digits, everything warm, by turns
    python -m bench.several search          # 5 widths × 4 rates × 5 folds in two processes, from a cold cache

The best round is what a machine without other work takes. Of a search the processors' seconds are told too.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np

import chainrule as cr
from bench.rounds import Work, interleaved
from bench.table import duration, markdown, times

K, BATCH = 16, 32
WIDTHS, RATES = (16, 32, 64, 128, 256), (3e-4, 1e-3, 3e-3, 1e-2)
PROCESSES = 2


def model(seed: int) -> cr.Model:
    layers = cr.Dense(32), cr.ReLU(), cr.Dense(10)
    return cr.Sequential(cr.Input(64), *layers, loss="softmax_cross_entropy", seed=seed)


def together(epochs: int, rounds: int) -> str:
    x, y, _, _ = cr.digits()
    x = x.astype(np.float32)
    pattern = model(0)

    def one_by_one(made: Callable[[int], cr.Model], workers: int) -> list[cr.Model]:
        models = [made(seed) for seed in range(K)]
        for seed, one in enumerate(models):
            rule = cr.Adam(1e-3)
            one.fit(x, y, epochs=epochs, batch_size=BATCH, optimizer=rule, seed=seed, workers=workers, verbose=False)
        return models

    def at_once(workers: int) -> list[cr.Model]:
        models = [pattern.like(seed) for seed in range(K)]
        cr.fit_together(
            models, x, y, epochs=epochs, batch_size=BATCH, optimizers=[cr.Adam(1e-3)] * K, seeds=range(K),
            workers=workers, verbose=False,
        )  # fmt: skip
        return models

    works: dict[str, Callable[[], Sequence[cr.Model]]] = {}
    for workers in (1, 2):
        threads = f"{workers} thread{'s' * (workers > 1)}"
        works[f"{K} models made and fitted, {threads}"] = lambda workers=workers: one_by_one(model, workers)
        works[f"{K} like one, fitted, {threads}"] = lambda workers=workers: one_by_one(pattern.like, workers)
        works[f"`fit_together`, {threads}"] = lambda workers=workers: at_once(workers)
    bits = {name: [m.parameters[p].tobytes() for m in run() for p in m.parameters] for name, run in works.items()}
    same = len(set(map(tuple, bits.values()))) == 1

    def repeated(run: Callable[[], object]) -> Work:
        return Work(lambda count: [run() for _ in range(count)])

    found = interleaved({name: repeated(run) for name, run in works.items()}, seconds=0.3, rounds=rounds)
    best = {name: min(taken) for name, taken in found.items()}
    quickest = min(taken for name, taken in best.items() if "together" in name)
    rows = [
        [name, duration(best[name]), times(best[name] / quickest), duration(median(taken))]
        for name, taken in sorted(found.items(), key=lambda item: -best[item[0]])
    ]
    table = markdown([f"{epochs} epochs of digits, batch {BATCH}", "best", "of the quickest", "median"], rows)
    return f"{table}\n\nThe bits are {'the same' if same else 'NOT the same'} each way.\n"


def child(ours: bool, epochs: int) -> None:
    import warnings

    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier

    from chainrule.sklearn import ChainruleClassifier

    os.environ["PYTHONWARNINGS"] = "ignore"
    warnings.simplefilter("ignore")
    x, y = load_digits(return_X_y=True)
    made = partial(ChainruleClassifier, standardise=False) if ours else MLPClassifier  # which takes pixels as they are
    grid = {"hidden_layer_sizes": [(width,) for width in WIDTHS], "learning_rate_init": list(RATES)}
    search = GridSearchCV(made(max_iter=epochs, random_state=0), grid, cv=5, n_jobs=PROCESSES).fit(x, y)
    print(f"{search.best_score_:.4f} with {search.best_params_}")


def search(epochs: int, rounds: int) -> str:
    rows: dict[str, list[tuple[float, float, str]]] = {"ChainruleClassifier": [], "MLPClassifier": []}
    for _ in range(rounds):
        for name, taken in rows.items():
            with tempfile.TemporaryDirectory() as cache:
                before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
                command = [sys.executable, "-m", "bench.several", "search", "--child", name, "--epochs", str(epochs)]
                environment = {**os.environ, "CHAINRULE_CACHE": cache}
                said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
                wall, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            taken.append((wall, work, said.strip()))
    least = {name: (min(t[0] for t in taken), min(t[1] for t in taken)) for name, taken in rows.items()}
    lines = [
        [name, duration(wall), duration(work), times(wall / least["ChainruleClassifier"][0]), rows[name][0][2]]
        for name, (wall, work) in least.items()
    ]
    title = f"100 fits of at most {epochs} epochs, cold, {PROCESSES} processes"
    return markdown([title, "wall", "processors", "of ours", "best score"], lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["together", "search"])
    parser.add_argument("--epochs", type=int, help="10 and 400 together, 200 of a search")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child == "ChainruleClassifier", options.epochs)
    elif options.what == "search":
        print(search(options.epochs or 200, options.rounds or 1))
    else:
        for epochs in [options.epochs] if options.epochs else [10, 400]:
            print(together(epochs, options.rounds or 5), flush=True)


if __name__ == "__main__":
    main()
