"""A server that does not answer is left alone, tried by one call, and used when it answers."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from core.redis import Database, connect, guard
from core.redis.guard import FAILURES, StoreGuard
from tests.support.cable import Cable, laid
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.valkey import running_valkey

#: Shorter than the defaults, so that the tests are.
TIMES = "connect-timeout = 0.2\nanswer-timeout = 0.5\n"


@pytest.fixture
def laid_cable(tmp_path: Path) -> Iterator[tuple[Cable, "redis.Redis"]]:
    (tmp_path / "valkey").mkdir()
    with running_valkey(tmp_path / "valkey") as valkey, laid(valkey.port) as cable:
        url = valkey.url.replace(str(valkey.port), str(cable.port))
        client = connect(settings_in(tmp_path, url, TIMES), Database.LIVE)
        assert client.ping()
        yield cable, client
        cable.mend()


def test_a_silent_server_is_left_alone_and_used_again(
    laid_cable: tuple[Cable, "redis.Redis"],
) -> None:
    cable, client = laid_cable
    cable.cut()
    with pytest.raises(redis.RedisError):
        client.get("x")
    quick = 0

    def left_alone() -> int:
        nonlocal quick
        try:
            client.get("x")
        except redis.ConnectionError as error:
            quick += "a moment ago" in str(error)
        except redis.TimeoutError:
            pass
        return quick >= 20

    wait_for(left_alone, 60)
    cable.mend()
    assert wait_for(lambda: _pong(client), 60)
    assert [client.incr("n") for _ in range(3)] == [1, 2, 3]


def test_one_thread_tries_and_the_others_do_not_wait(
    laid_cable: tuple[Cable, "redis.Redis"],
) -> None:
    cable, client = laid_cable
    cable.cut()
    with ThreadPoolExecutor(12) as pool:
        ends = time.monotonic() + 3 * guard.PAUSE_SECONDS

        def calls() -> list[bool]:
            """Whether each call was refused without a try."""
            found = []
            while time.monotonic() < ends:
                try:
                    client.get("x")
                except redis.RedisError as error:
                    found.append("a moment ago" in str(error))
                time.sleep(0.01)
            return found

        each = [one.result(60) for one in [pool.submit(calls) for _ in range(12)]]
    tried = sum(not refused for one in each for refused in one)
    assert sum(map(len, each)) > 5 * tried


def _pong(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_server_that_refuses_is_asked_each_time(tmp_path: Path) -> None:
    client = connect(settings_in(tmp_path, "redis://127.0.0.1:1", TIMES), Database.LIVE)
    for _ in range(3 * FAILURES):
        with pytest.raises(redis.ConnectionError, match="refused"):
            client.get("x")


def test_an_answer_between_two_time_outs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PAUSE_SECONDS", 0.0)
    known = StoreGuard(1.0)
    for _ in range(3 * FAILURES):
        known.silent()
        known.answered()
        known.check()
    monkeypatch.setattr(guard, "PAUSE_SECONDS", 1000.0)
    for _ in range(FAILURES):
        known.silent()
    with pytest.raises(redis.ConnectionError):
        known.check()
    known.answered()
    known.check()


def test_one_thread_may_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PAUSE_SECONDS", 0.0)
    known = StoreGuard(1.0)
    for _ in range(FAILURES):
        known.silent()
    known.check()
    known.check()  # the same thread goes on
    refused: list[bool] = []

    def other() -> None:
        try:
            known.check()
        except redis.ConnectionError:
            refused.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(60)
    assert refused == [True]
    known.silent()  # the try failed: with no pause the next thread may
    thread = threading.Thread(target=other)
    thread.start()
    thread.join(60)
    assert refused == [True]
