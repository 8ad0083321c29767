"""The record that workers share while they run: `team` in csrc/barrier.h."""

from __future__ import annotations

import ctypes


class Team(ctypes.Structure):
    """`steps` says how many steps are done; setting `stop` to 1 asks all workers to leave where they next meet."""

    _fields_ = (
        ("workers", ctypes.c_int), ("leaving", ctypes.c_int), ("_apart", ctypes.c_char * 56),
        ("_arrived", ctypes.c_int), ("_from", ctypes.c_char * 60),
        ("_phase", ctypes.c_int), ("_each", ctypes.c_char * 60),
        ("steps", ctypes.c_longlong), ("stop", ctypes.c_int), ("_other", ctypes.c_char * 52),
    )

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
