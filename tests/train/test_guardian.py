"""Who is named when processes that train together end without a word."""

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from chainrule.train.guardian import broken

WORD = "word"


@pytest.fixture
def sleepers() -> Generator[list[subprocess.Popen[bytes]]]:
    with ExitStack() as stack:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        found = [stack.enter_context(subprocess.Popen(command)) for _ in range(2)]
        yield found
        for process in found:
            process.kill()


@pytest.mark.parametrize(
    ("killed", "said", "named"),
    [
        ([], b"", "rank 0 of 2"),
        # The connection of one that is killed breaks off when its memory is given back, after others can have seen it.
        ([1], b"", "rank 1 of 2"),
        ([1], b"said\n", None),
        ([1, 0], b"", "rank 0 of 2"),  # the launcher kills the others
    ],
)
def test_of_those_that_end_the_one_that_was_killed_is_named(
    sleepers: list[subprocess.Popen[bytes]], killed: list[int], said: bytes, named: str | None
) -> None:
    with socket.create_server(("localhost", 0)) as listening, ThreadPoolExecutor() as pool, ExitStack() as held:
        found = pool.submit(broken, listening, WORD)
        for rank in 1, 0:  # connections are heard in the order in which they come; that of rank 0 breaks off first
            made = held.enter_context(socket.create_connection(listening.getsockname()))
            made.sendall(f"{WORD} {sleepers[rank].pid} rank {rank} of 2\n".encode())
        for rank in killed:
            sleepers[rank].kill()
            os.waitid(os.P_PID, sleepers[rank].pid, os.WEXITED | os.WNOWAIT)
        made.sendall(said)
        made.close()
        assert found.result(10) == named


def test_a_stranger_is_not_named() -> None:
    with socket.create_server(("localhost", 0)) as listening, ThreadPoolExecutor() as pool:
        found = pool.submit(broken, listening, WORD)
        with socket.create_connection(listening.getsockname()) as stranger:
            stranger.sendall(b"other 1 rank 7 of 8\n")
        with socket.create_connection(listening.getsockname()) as made:
            made.sendall(f"{WORD} {os.getpid()} rank 0 of 1\nbye\n".encode())
        assert found.result(10) is None
