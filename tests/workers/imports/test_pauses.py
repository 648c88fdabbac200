"""How long an import leaves a registry alone that asks for it."""

import time

import pytest

from core.errors import RegistryUnavailable
from core.jobs import Cancelled
from workers.verbs.imports.download import pause


def test_a_registry_is_left_alone_as_long_as_it_asks() -> None:
    began = time.monotonic()
    pause(int, 1, RegistryUnavailable("away", retry_after=2))
    assert time.monotonic() - began >= 2


def test_a_cancel_ends_a_long_pause() -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        pause(check, 1, RegistryUnavailable("away", retry_after=10**9))
    assert len(calls) == 3
