"""The one retry of calls that fail while a server is away or refuses, and the words for that."""

import re
from collections.abc import Callable

import redis
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    stop_never,
    wait_exponential,
)

from core.errors import StoreUnavailable

#: The server did not answer: it is down, restarts, or the network is cut.
AWAY = (redis.ConnectionError, redis.TimeoutError)
#: Codes of answers that pass: a server that is full, a replica, one that loads its file, one that
#: cannot write its file, a busy script (Redis: src/server.c, `shared` error objects).
_REFUSALS = (
    "OOM",
    "READONLY",
    "MISCONF",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "BUSY",
    "CLUSTERDOWN",
    "TRYAGAIN",
)
_KINDS = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.MasterDownError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
#: Servers before version 7 put the code of a refused command into the error of its script.
_CODE = re.compile(rf"(?:^|[ -])(?:{'|'.join(_REFUSALS)}) ")


def store_refuses(error: BaseException) -> bool:
    """Return whether the server answered that it takes no command like this now."""
    if isinstance(error, _KINDS):
        return True
    return isinstance(error, redis.ResponseError) and _CODE.search(str(error)) is not None


def store_is_away(error: BaseException) -> bool:
    """Return whether a call may succeed later: the server is away, or refuses for now."""
    return isinstance(error, (*AWAY, StoreUnavailable)) or store_refuses(error)


def store_problem(error: redis.RedisError) -> StoreUnavailable:
    """Return the problem of a failed call; its words say whether the store refused or was away."""
    if store_refuses(error):
        return StoreUnavailable(
            "The store (Redis) refuses to write: it is full, read-only or starting. Try again "
            "shortly."
        )
    if isinstance(error, AWAY):
        return StoreUnavailable("The store (Redis) cannot be reached. Try again shortly.")
    return StoreUnavailable("The store (Redis) failed. Try again; the log has the cause.")


def retrying(
    *,
    first_pause_seconds: float,
    longest_pause_seconds: float,
    patience_seconds: float | None = None,
    on_wait: Callable[[BaseException], object] | None = None,
) -> Retrying:
    """Return an object that calls a function again while the server is away: `retrying(…)(call)`.

    A server that refuses counts as away (`store_is_away`). Pauses double from the first to the
    longest. After `patience_seconds` the last error is raised; None is no limit. `on_wait` gets
    the error before each pause, and may end the wait by raising. The function must be one that may
    run twice.
    """

    def waits(state: RetryCallState) -> None:
        error = None if state.outcome is None else state.outcome.exception()
        if on_wait is not None and error is not None:
            on_wait(error)

    stop = stop_never if patience_seconds is None else stop_after_delay(patience_seconds)
    return Retrying(
        retry=retry_if_exception(store_is_away),
        wait=wait_exponential(first_pause_seconds, max=longest_pause_seconds),
        stop=stop,
        before_sleep=waits,
        reraise=True,
    )
