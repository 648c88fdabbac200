"""What depends on how Celery and billiard work inside.

docs/dependencies.md lists each function here with its reason, its version and its test. No other
file of the workers uses a name of theirs that is not documented.
"""

import signal
import sys
from collections.abc import Callable
from typing import Any

import billiard.pool
from celery import Celery

#: A child that exits looks this many times, 0.1 s apart, whether its last result was read.
LAST_RESULT_TRIES = 10


def shorten_last_result_wait() -> None:
    """Let a child of this process exit after one second, although no process read its last result.

    At a drain the main process may stop reading before that result. The child would wait for 30 s.
    The result is not needed: the record of the job has the state.
    """
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = LAST_RESULT_TRIES


def silence_shutdown_messages() -> None:
    """Keep Celery from printing plain text to standard output at shutdown, beside the JSON logs."""
    sys.__stdout__ = None  # type: ignore[misc] # typed as never reassigned


def replace_sighup_handler(on_reload: Callable[[], None]) -> None:
    """Call `on_reload` at SIGHUP; Celery's own handler would execute the worker again.

    Call it from a step of the worker: Celery installs its handler before any step starts.
    """
    signal.signal(signal.SIGHUP, lambda *_: on_reload())


def send_task_event(app: Celery, node: str, kind: str, **facts: Any) -> None:  # noqa: ANN401 - JSON values
    """Send an event of a task to Flower and other watchers.

    `Task.send_event` cannot do this: it takes id and node from the request of the calling thread,
    and progress is sent by a thread that has none.
    """
    with app.events.default_dispatcher(hostname=node) as dispatcher:
        dispatcher.send(kind, **facts)
