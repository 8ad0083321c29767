"""Ctrl-C between two steps."""

from __future__ import annotations

import signal
import threading
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """While this is entered, Ctrl-C is noted (`asked`) and not raised, so that what was done is counted as done; a
    second one is raised. A handler of the user's own stays, and so does a SIGINT that is ignored, as in a shell's
    background job. One that is entered within another, in a thread that runs in its context, hears what that hears."""

    def __init__(self) -> None:
        self.noted = False
        self._before: Any = None
        self._above = _CURRENT.get()

    @property
    def asked(self) -> bool:
        return self.noted or (self._above is not None and self._above.asked)

    def __enter__(self) -> Interrupt:
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        self._token = _CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _CURRENT.reset(self._token)
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True

    def check(self) -> None:
        """Raises KeyboardInterrupt where Ctrl-C came."""
        if self.asked:
            raise KeyboardInterrupt


_CURRENT: ContextVar[Interrupt | None] = ContextVar("interrupt", default=None)
