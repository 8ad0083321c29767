"""One Coq that has read the rules, for all tests that need no other: each is told aside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chainrule.verify.proof import started
from chainrule.verify.session import Session


@pytest.fixture(scope="session")
def one_coq() -> Iterator[Session]:
    coq = started()
    assert coq, "make proof installs Coq"
    with coq:
        assert coq.begun()
        yield coq


@pytest.fixture
def coq(one_coq: Session) -> Iterator[Session]:
    with one_coq.aside():
        yield one_coq
