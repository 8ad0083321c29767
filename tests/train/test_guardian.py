"""Who is named when processes that train together end without a word."""

import os
import signal
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
def sleeper() -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("ends", "said", "named"),
    [
        (None, b"", "rank 0 of 2"),
        # The connection of one that is killed breaks off when its memory is given back, after others can have seen it.
        (signal.SIGKILL, b"", "rank 1 of 2"),
        (signal.SIGKILL, b"said\n", None),
    ],
)
def test_the_one_that_a_signal_ends_is_named_whosever_connection_breaks_off_first(
    sleeper: subprocess.Popen[bytes], ends: signal.Signals | None, said: bytes, named: str | None
) -> None:
    with socket.create_server(("localhost", 0)) as listening, ThreadPoolExecutor() as pool, ExitStack() as held:
        found = pool.submit(broken, listening, WORD)
        for rank, pid in (1, sleeper.pid), (0, os.getpid()):  # connections are heard in the order in which they come
            made = held.enter_context(socket.create_connection(listening.getsockname()))
            made.sendall(f"{WORD} {pid} rank {rank} of 2\n".encode())
        if ends is not None:
            sleeper.send_signal(ends)
            os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
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
