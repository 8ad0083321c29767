"""Ctrl-C, and SIGTERM where that is asked for, between two steps."""

from __future__ import annotations

import signal
import threading
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """While this is entered, Ctrl-C is noted (`asked`) and not raised, so that what was done is counted as done; a
    second one is raised. A handler of the user's own stays, and so does a SIGINT that is ignored, as in a shell's
    background job. One that is entered within another, in a thread that runs in its context, hears what that hears.
    `also_ended` notes SIGTERM in the same way, and that it was it (`ended`)."""

    def __init__(self, *, also_ended: bool = False) -> None:
        self.noted = self.ended = False
        self._signals: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler}
        if also_ended:
            self._signals[signal.SIGTERM] = signal.SIG_DFL
        self._before: dict[signal.Signals, Any] = {}
        self._above = _CURRENT.get()

    @property
    def asked(self) -> bool:
        return self.noted or (self._above is not None and self._above.asked)

    def __enter__(self) -> Interrupt:
        ours = threading.current_thread() is threading.main_thread()
        for number, plain in self._signals.items():
            before = signal.getsignal(number)  # None of a library's own, such as JAX's, which tells that library alone
            if ours and (before is plain or (before is None and number == signal.SIGTERM)):
                signal.signal(number, self._note)
                self._before[number] = plain
        self._token = _CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _CURRENT.reset(self._token)
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted, self.ended = True, number == signal.SIGTERM

    def check(self) -> None:
        """Raises KeyboardInterrupt where Ctrl-C came."""
        if self.asked:
            raise KeyboardInterrupt


_CURRENT: ContextVar[Interrupt | None] = ContextVar("interrupt", default=None)
