"""Calls with a deadline: a busy volume lets callers wait, a stuck one refuses them."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.volumes import deadlines
from api.volumes.deadlines import Deadlines
from core.errors import DeadlineExceeded, Unavailable
from tests.support.node import wait_for

THREADS = 2
#: Far more than any call here takes.
PATIENCE_SECONDS = 60.0


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What hung calls wait for; they return at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def slow(number: int) -> int:
    time.sleep(deadlines.SLOW_SECONDS * 4)
    return number


def hang(calls: Deadlines, pool: ThreadPoolExecutor, held: threading.Event, count: int) -> None:
    """Hang some threads of the volume for longer than a busy one takes."""
    began = threading.Barrier(count + 1)

    def wait() -> None:
        began.wait(PATIENCE_SECONDS)
        held.wait(PATIENCE_SECONDS)

    for _ in range(count):
        pool.submit(calls.call, "v", wait)
    began.wait(PATIENCE_SECONDS)
    time.sleep(deadlines.STUCK_SECONDS * 1.2)


def test_a_busy_volume_lets_callers_wait(callers: ThreadPoolExecutor) -> None:
    """The threads have slow calls for longer than a stuck volume is waited for."""
    calls = Deadlines(PATIENCE_SECONDS, THREADS)
    count = round(THREADS * deadlines.STUCK_SECONDS / (deadlines.SLOW_SECONDS * 4) * 1.5)
    count = min(count, deadlines.CALLS_PER_VOLUME - 1)
    answers = [callers.submit(calls.call, "v", slow, number) for number in range(count)]
    assert [answer.result(PATIENCE_SECONDS) for answer in answers] == list(range(count))


def test_one_hung_call_does_not_make_a_volume_stuck(
    callers: ThreadPoolExecutor, held: threading.Event
) -> None:
    calls = Deadlines(PATIENCE_SECONDS, THREADS)
    hang(calls, callers, held, 1)
    answers = [callers.submit(calls.call, "v", slow, number) for number in range(8)]
    assert [answer.result(PATIENCE_SECONDS) for answer in answers] == list(range(8))


def test_a_stuck_volume_refuses_at_once_and_no_other_volume_does(
    callers: ThreadPoolExecutor, held: threading.Event
) -> None:
    calls = Deadlines(PATIENCE_SECONDS, THREADS)
    hang(calls, callers, held, THREADS)
    with pytest.raises(Unavailable, match="does not answer"):
        calls.call("v", slow, 1)
    assert calls.call("w", slow, 2) == 2
    held.set()

    def answers() -> bool:
        try:
            return calls.call("v", slow, 3) == 3
        except Unavailable:
            return False

    wait_for(answers, PATIENCE_SECONDS)


def test_a_call_past_its_deadline_is_given_up(
    callers: ThreadPoolExecutor, held: threading.Event
) -> None:
    calls = Deadlines(0.2, THREADS)
    with pytest.raises(DeadlineExceeded):
        calls.call("v", held.wait, PATIENCE_SECONDS)
