"""The command line: `chainrule train`, `evaluate`, `predict`, `summary`, `derive`, `verify`, `export`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from chainrule.arguments import parsed
from chainrule.commands.documents import derive, verify
from chainrule.commands.models import export, summary
from chainrule.commands.output import note, warn
from chainrule.commands.training import evaluate, predict, train
from chainrule.errors import ChainruleError, DivergenceError, VerificationError


def _sentence(error: ChainruleError) -> str:
    """The error on one line."""
    about = "" if error.about is None else " in " + " ".join(str(error.about).split())
    fix = f"; {error.fix}" if error.fix else ""
    return " ".join(f"{error.problem}{about}{fix}".split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 for a line that is false or a run that diverges, 2 for bad input (with one
    sentence), 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    options = parsed(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = note
        return _carried_out(options)


def _carried_out(options: argparse.Namespace) -> int:
    """The exit code of a command, whose errors are said."""
    command = f"chainrule {options.command}"
    try:
        actions = {
            "train": train,
            "evaluate": evaluate,
            "predict": predict,
            "summary": summary,
            "derive": derive,
            "verify": verify,
            "export": export,
        }
        code = actions[options.command](options)
        sys.stdout.flush()
        return code
    except ChainruleError as error:
        warn(f"{command}: {_sentence(error)}")
        return 1 if isinstance(error, (VerificationError, DivergenceError)) else 2
    except BrokenPipeError:
        # The reader (head, less) has gone; what is left in the buffer must not raise once more at exit.
        sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
        return 0
    except OSError as error:
        warn(f"{command}: {error.filename or 'standard output'}: {error.strerror or error}")
        if error.filename is None:
            sys.stdout = None  # pyright: ignore[reportAttributeAccessIssue]
        return 2
    except KeyboardInterrupt:
        warn(f"{command}: interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
