"""The record that workers share while they run: `team` in csrc/barrier.h."""

from __future__ import annotations

import ctypes


class Team(ctypes.Structure):
    """Setting `stop` to 1 lets those go who wait for a worker that will never come."""

    _fields_ = (
        ("workers", ctypes.c_int), ("_apart", ctypes.c_char * 60),
        ("_arrived", ctypes.c_int), ("_from", ctypes.c_char * 60),
        ("_phase", ctypes.c_int), ("_each", ctypes.c_char * 60),
        ("stop", ctypes.c_int), ("_other", ctypes.c_char * 60),
    )

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
