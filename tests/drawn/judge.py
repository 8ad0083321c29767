"""A program through consumers, with a clock: its faults, and why it was refused where it was."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from types import FrameType

from chainrule.derive.check import REPORT
from chainrule.errors import ChainruleError
from tests.drawn.consumers import SkippedError
from tests.drawn.language import Program
from tests.drawn.subject import Fault, Subject, crash, subject

# Where each is; imported when it is asked for, since most runs need few of them.
CONSUMERS = {
    "numbers": "consumers.against_slopes", "field": "consumers.over_the_field",
    "samples": "consumers.of_one_sample", "composites": "consumers.composed", "loops": "loops.loops_over_the_field",
    "jax": "consumers.against_jax", "read back": "documents.read_back", "listing": "documents.listed",
    "documents": "documents.documents", "verify": "documents.verified", "forms": "forms.forms",
    "native": "machines.native", "fitted": "machines.fitted",
}  # fmt: skip
QUICK = ("numbers", "field", "samples", "composites", "loops", "forms")
LONGEST = 30  # seconds after which a program counts as hanging


class Hanging(BaseException):
    """No Exception, so that nothing in between takes it for one of its own."""


def consumer(name: str) -> Callable[[Subject], list[Fault]]:
    module, function = CONSUMERS[name].split(".")
    return getattr(import_module(f"tests.drawn.{module}"), function)


@contextmanager
def watchdog(seconds: int) -> Generator[None]:
    """Raises Hanging after so many seconds of work, or ten times as many by the clock: others may be at work too."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hanging

    before = [(number, signal.signal(number, ring)) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(10 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in before:
            signal.signal(number, handler)


@dataclass
class Verdict:
    faults: list[Fault] = field(default_factory=list[Fault])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """By the consumer, or "derive", the reason."""
    skipped: list[str] = field(default_factory=list[str])
    notes: dict[str, int] = field(default_factory=dict[str, int])


def reason(error: ChainruleError) -> str:
    return f"{type(error).__name__}: {error.problem}"


def judged(program: Program, names: Sequence[str], longest: int = LONGEST) -> Verdict:
    """Derive the program, and give it to these consumers."""
    verdict = Verdict()
    made: Subject | None = None
    for name in ("derive", *names):
        try:
            with watchdog(longest), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if made is None:
                    made = subject(program)
                else:
                    verdict.faults += consumer(name)(made)
        except SkippedError:
            verdict.skipped.append(name)
        except ChainruleError as error:
            if error.fix == REPORT:  # what is right was refused, or what is wrong was derived
                verdict.faults.append(Fault(name, "a line is false", reason(error)))
            else:
                verdict.refused[name] = reason(error)
        except Hanging:
            verdict.faults.append(Fault(name, "hangs"))
        except Exception as error:  # whatever it is, it is a fault
            verdict.faults.append(crash(name, error))
        if made is None:
            break
    if made is not None:
        verdict.notes = made.notes
    first: dict[tuple[str, str], Fault] = {}
    for fault in verdict.faults:
        first.setdefault((fault.consumer, fault.kind), fault)
    verdict.faults = [*first.values()]
    return verdict
