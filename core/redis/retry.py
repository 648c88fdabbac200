"""The one retry of calls that fail while a server is away."""

import redis
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    stop_never,
    wait_exponential,
)

#: The server did not answer: it is down, restarts, or the network is cut.
AWAY = (redis.ConnectionError, redis.TimeoutError)


def retrying(
    *,
    on: type[Exception] | tuple[type[Exception], ...] = AWAY,
    first_pause_seconds: float,
    longest_pause_seconds: float,
    patience_seconds: float | None = None,
) -> Retrying:
    """Return an object that calls a function again while it raises `on`: `retrying(…)(call)`.

    Pauses double from the first to the longest. After `patience_seconds` the last error is raised;
    None is no limit. The function must be one that may run twice.
    """
    stop = stop_never if patience_seconds is None else stop_after_delay(patience_seconds)
    return Retrying(
        retry=retry_if_exception_type(on),
        wait=wait_exponential(first_pause_seconds, max=longest_pause_seconds),
        stop=stop,
        reraise=True,
    )
