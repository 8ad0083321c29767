"""A training run as one page, complete in itself: what was trained on what, how it went, what is wrong, how to repeat
it. It asks no host for anything; beside it stands the derivation."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.metadata import version
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.derivation import Language
from chainrule.nn.losses import Labels
from chainrule.render import charts
from chainrule.render.document import Block, Cell, Code, Drawn, Heading, Inline, Listing, Paragraph, Table, Text
from chainrule.render.glance import Glance
from chainrule.render.html import page
from chainrule.runtime.compiler import native
from chainrule.train.columns import chosen
from chainrule.train.feed import Samples
from chainrule.train.history import History
from chainrule.train.model import Model, in_library
from chainrule.train.sequential import Sequential

Array = NDArray[Any]
FLOW = 256  # samples whose gradients are looked at
WORST, FILTERS = 24, 32  # samples and weights that are shown
INPUTS = 6  # numbers of a sample that are shown where it is no picture
LIKE = 0.75  # neighbours in a picture differ so much less, squared, than any two of its pixels


def report(
    model: Model, history: History, x: Samples, y: ArrayLike, *, metrics: Iterable[str] = (), data: str = "",
    command: str = "", lang: Language = "en",
) -> Report:
    """The report of a run that `fit` gave the history of, about samples that the model has not seen: `save` it, or
    `str()` gives the page. `metrics` are told besides; `data` says in words what the data are, `command` how the run
    was started, where that was from a command line.

    Raises ModelError for a model without a loss, DataError and ShapeError for the data, DerivationError for an unknown
    language.
    """
    return Report(model, history, x, y, tuple(metrics), data, command, lang)


class Report:
    """A report: `str()` gives the page in HTML, `save` writes it with the derivation beside it."""

    def __init__(
        self, model: Model, history: History, x: Samples, y: ArrayLike, metrics: Sequence[str], data: str,
        command: str, lang: Language,
    ) -> None:
        self.model, self.history, self.x, self.y = model, history, x, y
        self.data, self.command = data, command
        self.lang: Language = lang
        found = model.evaluate(x, y, metrics=metrics)
        self.scores = {name: found[name] for name in ("loss", "accuracy") if name in found} | found
        self.rows = model.feed.rows(x, y, None, model.dtype)
        self.labels: Labels = model.feed.labels(self.rows.target)
        self.count = len(self.rows)
        self.glance = Glance(model.derive(), lang, "standard")
        self.say, self.sentences = self.glance.say, self.glance.sentences

    def __str__(self) -> str:
        return self.page("")

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in self.scores.items())
        return f"<Report: {scores} on {self.count:,} samples; save it as report.html>"

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page, and the derivation that it points to: report.html and report-derivation.html. Raises OSError
        where they cannot be written."""
        file = Path(path)
        beside = file.with_name(f"{file.stem}-derivation.html")
        file.write_text(self.page(beside.name), encoding="utf-8")
        beside.write_text(self.model.derive().to_html(self.lang), encoding="utf-8")

    def page(self, derivation: str) -> str:
        """The page; `derivation` names the file beside it that the derivation is in."""
        return page(self.sentences["report.title"], self.sections(derivation), self.lang)

    def sections(self, derivation: str) -> Iterable[Block | Drawn]:
        yield self.summary()
        yield from self.part("network", *self.glance.drawn_and_counted())
        if self.history.epochs:
            yield from self.part("curves", Drawn(charts.curves(self.panels(), self.sentences["report.epoch"])))
        yield from self.answers()
        yield from self.flow()
        yield from self.weights()
        yield from self.worst()
        yield from self.again(derivation)

    def part(self, key: str, *blocks: Block | Drawn, **places: Inline | Text) -> Iterable[Block | Drawn]:
        """A heading, a word about it where there is one, and what it is about."""
        yield Heading(1, self.say(f"report.{key}"))
        if f"report.{key}_lead" in self.sentences:
            yield Paragraph(self.say(f"report.{key}_lead", **places))
        yield from blocks

    def summary(self) -> Table:
        model, history, trained = self.model, self.history, self.model.trained
        rows: list[tuple[str, Text]] = [(name, (_number(name, value),)) for name, value in self.scores.items()]
        rows.append(("on", self.say("report.samples", count=f"{self.count:,}", shape=self.shape())))
        if self.data:
            rows.append(("data", (self.data,)))
        size = sum(array.size for array in model.parameters.values())
        rows.append(("model", self.say("report.parameters", kind=type(model).__name__, count=f"{size:,}")))
        rows.append(("loss_function", (Code(_called(model.loss).removesuffix("()")),)))
        if trained:
            ended = "interrupted" if history.interrupted else "stopped" if history.stopped else "done"
            epochs = self.say(
                f"report.{ended}", count=str(len(history.epochs)), samples=f"{history.samples:,}",
                batch=str(history.batch_size), by=Code(history.stopped),
            )
            rows += [("training", epochs), ("optimizer", (Code(_called(trained.optimizer)),))]
        return self.table_of(("", ""), [[self.name_of(name), text] for name, text in rows])

    def name_of(self, key: str) -> Text:
        """A fact's or metric's name in the language, where it has one there."""
        return self.say(f"report.{key}") if f"report.{key}" in self.sentences else (key.replace("_", " "),)

    def table_of(self, header: Sequence[str], rows: Iterable[Sequence[Text]]) -> Table:
        cells: list[tuple[Cell, ...]] = [tuple((text,) for text in row) for row in rows]
        return Table(tuple((text,) for text in header), tuple(cells))

    def shape(self) -> str:
        return ", ".join("×".join(map(str, i.shape[1:])) for i in self.model.inputs)

    def panels(self) -> dict[str, dict[str, list[float]]]:
        said = {"training": self.sentences["report.seen"], "held out": self.sentences["report.held_out"]}
        return {
            "".join(map(str, self.name_of(name))): {said[kind]: values for kind, values in lines.items()}
            for name, lines in self.history.panels().items()
        }

    # What comes out

    @cached_property
    def output(self) -> Array:
        return self.model.predict(self.x)

    @cached_property
    def target(self) -> Array:
        return self.rows.targets

    @cached_property
    def classes(self) -> tuple[Array, Array] | None:
        """The class of each sample and the one that it is taken for, where each has one."""
        found = chosen(self.output, self.labels, self.model.classes)
        if found is None or found.ndim != 1 or (self.labels == "binary" and self.target.shape[-1] > 1):
            return None
        truth = self.target[:, 0] > 0.5 if self.target.shape[-1] == 1 else self.target.argmax(-1)
        return truth.astype(np.int64), found.astype(np.int64)

    def class_name(self, number: int) -> str:
        return self.model.classes[number] if number < len(self.model.classes) else str(number)

    def answers(self) -> Iterable[Block | Drawn]:
        """Which class is taken for which; for numbers, what is said beside what is true."""
        if self.labels == "binary" and self.target.shape[-1] > 1:
            right = (self.output > 0.5) == (self.target > 0.5)
            rows = [[self.say("report.output", number=str(k)), (f"{r.mean():.2%}",)] for k, r in enumerate(right.T, 1)]
            yield from self.part("confusion", self.table_of(("", self.sentences["report.accuracy"]), rows))
            return
        if self.labels != "numbers":
            table = self.model.confusion_matrix(self.x, self.y)
            names = [self.class_name(k) for k in range(len(table))]
            said = (self.sentences["report.true"], self.sentences["report.taken"])
            yield from self.part("confusion", Drawn(charts.counts(table, names, *said)))
            return
        output, target = (np.asarray(a, np.float64).reshape(self.count, -1) for a in (self.output, self.target))
        errors = output - target
        rows = [
            [self.say("report.output", number=str(k)), *((f"{v:.4g}",) for v in (e.mean(), e.std(), np.abs(e).max()))]
            for k, e in enumerate(errors.T[:INPUTS], 1)
        ]
        header = ("", *(self.sentences[f"report.{key}"] for key in ("mean", "deviation", "largest")))
        axes = (self.sentences["report.is"], self.sentences["report.answer"])
        cloud = charts.cloud(target[:, 0], output[:, 0], *axes)
        yield from self.part("residuals", Drawn(cloud), self.table_of(header, rows))

    def flow(self) -> Iterable[Block | Drawn]:
        count = min(FLOW, self.count)
        _, gradients = self.model.gradients(_first(self.x, count), np.asarray(self.y)[:count])
        header = tuple(self.sentences[f"report.{key}"] for key in ("of", "norm", "powers"))
        drawn = Drawn(gradients.drawn((header[0], header[1], header[2])))
        yield from self.part("flow", drawn, count=str(count))

    # Pictures

    @cached_property
    def picture(self) -> tuple[int, int, int] | None:
        """The shape of a sample as a picture, (colours, height, width), where it is one: neighbours are alike."""
        first, *more = self.model.inputs
        if more or self.model.columns or first.dtype != "real":
            return None
        shape = [int(e) for e in first.shape[1:]]
        side = int(prod(shape) ** 0.5)
        shape = [side, side] if len(shape) == 1 and side**2 == prod(shape) else shape
        colours, high, across = [1, *shape][-3:] if 1 < len(shape) < 4 else (0, 0, 0)
        if colours not in (1, 3) or min(high, across) < 4:
            return None
        given = self.samples(np.arange(min(self.count, FLOW))).reshape(-1, colours, high, across)
        spread = 2 * given.reshape(len(given), -1).var(1).mean()
        near = [float(np.square(np.diff(given, axis=axis)).mean()) for axis in (2, 3)]
        return (colours, high, across) if max(near) < LIKE * spread else None

    def samples(self, rows: Array) -> Array:
        """What the first input has in these rows, as numbers."""
        given = next(iter(self.rows.given.values()))
        return np.asarray(given[self.rows.at[rows]], np.float64)

    def weights(self) -> Iterable[Block | Drawn]:
        first = next((name for name, array in self.model.parameters.items() if array.ndim > 1), None)
        if self.picture is None or first is None:
            return
        weights = np.asarray(self.model.parameters[first], np.float64)
        colours, high, across = self.picture
        if weights.ndim == 2 and weights.shape[1] == colours * high * across:
            planes = weights.reshape(len(weights), *self.picture).mean(1)
        elif weights.ndim == 4 and weights.shape[1] == colours and min(weights.shape[2:]) > 1:
            planes = weights.mean(1)
        else:
            return
        shown = ((charts.two_coloured(plane), str(number)) for number, plane in enumerate(planes[:FILTERS], 1))
        yield from self.part(
            "weights", Drawn(charts.gallery(shown, 64)), name=Code(first), count=str(len(planes[:FILTERS])),
            all=str(len(planes)),
        )

    def worst(self) -> Iterable[Block | Drawn]:
        """The samples that the model is surest about and wrong, or that are farthest off."""
        if self.classes is not None:
            truth, found = self.classes
            sure = self.output.max(-1) if self.output.shape[-1] > 1 else np.abs(self.output[:, 0] - 0.5)
            wrong = np.flatnonzero(truth != found)
            rows, key = wrong[np.argsort(-sure[wrong], kind="stable")][: WORST // (1 if self.picture else 2)], "wrong"
            said = [(self.class_name(int(truth[r])), self.class_name(int(found[r]))) for r in rows]
        elif self.labels == "numbers":
            off = np.abs(np.asarray(self.output, np.float64) - self.target).reshape(self.count, -1).max(1)
            wrong = rows = np.argsort(-off, kind="stable")[: WORST // 3]
            key, said = "far", [(_row(self.target[r]), _row(self.output[r])) for r in rows]
        else:
            return
        places = {"count": f"{len(wrong):,}", "all": f"{self.count:,}", "shown": str(len(rows))}
        if not len(rows):
            yield from self.part("no_wrong")
        elif self.picture is not None:
            given = self.samples(rows).reshape(-1, *self.picture)
            low, high = given.min(), given.max()
            levels = (255 * (given - low) / max(high - low, 1e-30)).transpose(0, 2, 3, 1)
            levels = levels[..., 0] if levels.shape[-1] == 1 else levels
            tell = (self.flat("report.instead", truth=t, found=f) for t, f in said)
            yield from self.part(key, Drawn(charts.gallery(zip(levels, tell, strict=True))), **places)
        else:
            given, names = self.samples(rows).reshape(len(rows), -1), self.inputs()
            header = (self.sentences["report.row"], self.sentences["report.is"], self.sentences["report.answer"])
            cells = [
                [(str(int(r)),), (t,), (f,), *((f"{v:.4g}",) for v in values[:INPUTS])]
                for r, (t, f), values in zip(rows, said, given, strict=True)
            ]
            yield from self.part(key, self.table_of((*header, *names[: given.shape[1]][:INPUTS]), cells), **places)

    def inputs(self) -> list[str]:
        """The names of a sample's numbers."""
        columns = self.model.columns
        if columns is None:
            return [f"x{k}" for k in range(1, INPUTS + 1)]
        return [f"{f.name} {k}" if f.width > 1 else f.name for f in columns.features for k in range(1, f.width + 1)]

    def flat(self, key: str, **places: str) -> str:
        return "".join(str(part) for part in self.say(key, **places))

    # Again

    def again(self, derivation: str) -> Iterable[Block | Drawn]:
        target = native()
        versions = [
            f"chainrule {version('chainrule')}", f"Python {platform.python_version()}", f"NumPy {np.__version__}",
            f"{platform.system()} {platform.machine()}",
        ]
        lanes = self.say("report.lanes", versions=", ".join(versions), lanes=str(target.lanes))
        how = Listing(self.command, "shell") if self.command else Listing(self.code())
        yield from self.part("again" if self.command else "again_code", how, Paragraph(lanes))
        if derivation:
            link = f'<a href="{quote(derivation)}">{self.sentences["report.derivation"]}</a>'
            yield Drawn(f"<p>{link}</p>")

    def code(self) -> str:
        """Python that trains the same; of a model that is no row of layers the call of `fit` alone."""
        model, trained, lines = self.model, self.model.trained, ["import chainrule as cr", ""]
        if isinstance(model, Sequential):
            named = isinstance(model.loss.saved if model.loss else "", str)
            parts = [_called(model.inputs[0])]
            parts += [_called(layer) if in_library(layer) else repr(layer) for _, layer in model.network.layers]
            parts.append(f"loss={model.loss.name!r}" if model.loss and named else f"loss={_called(model.loss)}")
            parts += [f"l2={model.l2!r}"] * bool(model.l2) + [f"seed={model.seed}"] * bool(model.seed)
            parts += ["dtype='float64'"] * (model.dtype.itemsize > 4)
            lines += ["model = cr.Sequential(", *(f"    {part}," for part in parts), ")"]
        if trained:
            run = {"epochs": trained.epochs, "batch_size": self.history.batch_size, "seed": trained.seed}
            options = "".join(f", {name}={value}" for name, value in run.items())
            lines += [f"# x, y: {self.history.samples:,} samples", f"model.fit(x, y{options},"]
            lines += [f"          optimizer={_called(trained.optimizer)})"]
        return "\n".join([*lines, f"# x_test, y_test: {self.count:,} samples", "model.evaluate(x_test, y_test)"])


def _called(value: object) -> str:
    """How an object of ours is written: cr.SGD(rate=0.1)."""
    return re.sub(r"\b(?=[A-Za-z_]\w*\()", "cr.", repr(value))


def _first(x: Samples, count: int) -> Samples:
    if isinstance(x, dict):
        return {name: values[:count] for name, values in cast("dict[str, Any]", x).items()}
    if isinstance(x, tuple):
        return tuple(values[:count] for values in cast("tuple[Any, ...]", x))
    return x[:count]


def _row(values: Array) -> str:
    return ", ".join(f"{v:.4g}" for v in np.ravel(values)[:INPUTS])


def _number(name: str, value: float) -> str:
    return f"{value:.2%}" if "accuracy" in name else f"{value:.4f}"
