"""Errors of this room are read as answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from reslab.errors import ReslabError

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def refuses() -> Refuses:
    """refuses(NetworkError, "resnet19"): raised in the block, in three parts, and with these words."""

    @contextmanager
    def check(kind: type[ReslabError], *words: str) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        error = caught.value
        print(f"{kind.__name__}: {error}")
        assert error.what
        assert error.why
        assert error.do
        for word in words:
            assert word in str(error)

    return check
