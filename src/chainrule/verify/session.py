"""Coq as one session: it is told a file part by part, and what it refuses leaves it as it was."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self
from uuid import uuid4

SECONDS = 15  # for a part, by the clock: a tactic that runs on counts as one that fails, and others may be at work


class Session:
    """Coq's toplevel. A part is told by a file that it loads: as one command, all of it or nothing. It reads what it is
    told `first` while other work goes on."""

    def __init__(self, first: str = "") -> None:
        self._folder = TemporaryDirectory()
        self._coq = subprocess.Popen(
            ["coqtop", "-q", "-quiet"], cwd=self._folder.name, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self._mark = f"told_{uuid4().hex}"  # is nothing's name, as `Locate` says in one line
        self._tell(self._loading("first.v", first, 40 * SECONDS))
        self._begun: bool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._coq.kill()
        self._coq.communicate()
        self._folder.cleanup()

    def begun(self) -> bool:
        """Whether Coq took what it was told first."""
        if self._begun is None:
            self._begun = _accepted(self._answer())
        return self._begun

    def accepts(self, part: str, seconds: int = SECONDS) -> bool:
        """Whether Coq takes it, in at most so many seconds."""
        return _accepted(self.said(self._loading("part.v", part, seconds)))

    @contextmanager
    def aside(self) -> Generator[None]:
        """What it is told in here it forgets afterwards."""
        mark = f"aside_{uuid4().hex}"
        self.said(f"Definition {mark} := tt.")
        yield
        self.said(f"Reset {mark}.")

    def said(self, commands: str) -> str:
        """What Coq prints when it is told this."""
        self.begun()
        self._tell(commands)
        return self._answer()

    def _loading(self, file: str, text: str, seconds: int) -> str:
        Path(self._folder.name, file).write_text(text, encoding="utf-8")
        return f'Set Default Timeout {seconds}.\nLoad "{file}".\nUnset Default Timeout.'

    def _tell(self, commands: str) -> None:
        assert self._coq.stdin is not None
        with suppress(BrokenPipeError):  # what it said before it ended is read with the answer
            self._coq.stdin.write(f"{commands}\nLocate {self._mark}.\n")
            self._coq.stdin.flush()

    def _answer(self) -> str:
        assert self._coq.stdout is not None
        printed: list[str] = []
        for line in self._coq.stdout:
            if line.endswith(f" {self._mark}\n"):
                return "".join(printed)
            printed.append(re.sub(r"^(\S+ < )+", "", line))  # its prompts
        raise RuntimeError(f"Coq has ended: {''.join(printed)[-500:]}")


def _accepted(printed: str) -> bool:
    return not re.search(r"\berror:", printed, re.IGNORECASE)
