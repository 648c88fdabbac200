"""The retry: again while the server does not answer, within a bound, and only then."""

from collections.abc import Callable

import pytest
import redis

from core.errors import StoreUnavailable
from core.redis import retrying

PAUSE = 0.001


class Flaky:
    """Fails a number of times, then returns the number of calls."""

    def __init__(
        self, failures: int, error: Callable[[], Exception] = redis.ConnectionError
    ) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error()
        return self.calls


def test_a_call_is_repeated_until_it_succeeds() -> None:
    again = retrying(first_pause_seconds=PAUSE, longest_pause_seconds=PAUSE)
    assert again(Flaky(3)) == 4


def test_a_problem_that_says_the_store_is_away_is_waited_for() -> None:
    again = retrying(first_pause_seconds=PAUSE, longest_pause_seconds=PAUSE)
    assert again(Flaky(3, lambda: StoreUnavailable("away"))) == 4


def test_the_last_error_is_raised_after_the_bound() -> None:
    again = retrying(
        first_pause_seconds=PAUSE, longest_pause_seconds=PAUSE, patience_seconds=10 * PAUSE
    )
    with pytest.raises(redis.ConnectionError):
        again(Flaky(10**9))


def test_another_error_is_raised_at_once() -> None:
    call = Flaky(1, redis.ResponseError)
    with pytest.raises(redis.ResponseError):
        retrying(first_pause_seconds=PAUSE, longest_pause_seconds=PAUSE)(call)
    assert call.calls == 1
