"""Logs: one event per line, «noun verb» in past tense, facts as fields, never a secret.

Lines are JSON on stderr, or coloured text on a terminal, where a fact that is null is left out.
Every process of the service calls `configure` first. Without it, as in a command, the lines are the
same and name the component `command`. The facts of `bind` (request id, job id) are in every line of
that request or job, also in lines of libraries that log through the standard library. Our own lines
do not pass the standard library: a line costs about twenty microseconds, so that every request can
have one.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import orjson

from core.telemetry.plain import EventDict, Processor, structlog

#: The level when the configuration names none.
DEFAULT_LEVEL = "INFO"
#: The levels that a configuration may name; `Settings.log_level` checks it.
LEVELS = logging.getLevelNamesMapping()
#: Replaces a secret.
MASK = "***"

_SECRET_KEY = re.compile(r"secret|password|token|authorization|api[-_]?key", re.IGNORECASE)
#: Keys of log lines are words of our code, so their number is small.
_KEYS_KNOWN = 1024
_STDERR = 2
_NUMBERS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
}
_LEVEL = logging.INFO
#: The facts of every line of the present work. The mapping is replaced and never changed, so that
#: threads and contexts made from this one keep theirs.
_facts: ContextVar[Mapping[str, str]] = ContextVar("facts", default=MappingProxyType({}))
#: The processors of our lines: one list that is changed in place, because loggers keep it.
_CHAIN: list[Processor] = []


def configure(component: str, level: str = DEFAULT_LEVEL) -> None:
    """Send the logs of this process to stderr, each line with the name of the component."""
    number = LEVELS[level.upper()]
    _set(number)
    terminal = _is_terminal()
    shared = _configure_ours(component, terminal=terminal)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(terminal=terminal),
                _to_text,
            ],
        ),
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)


def _configure_ours(component: str, *, terminal: bool) -> list[Processor]:
    """Set how our own lines are written; return what lines of libraries share with them."""
    shared: list[Processor] = [
        _with_facts,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(component),
        _mask,
    ]
    _CHAIN[:] = [_at_level, *shared, *_renderers(terminal=terminal)]
    structlog.configure(
        processors=_CHAIN,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=_Line,
        cache_logger_on_first_use=True,
    )
    return shared


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def set_level(level: str) -> None:
    """Set the level of this process."""
    number = LEVELS[level.upper()]
    _set(number)
    logging.getLogger().setLevel(number)


def logger(name: str) -> Any:  # noqa: ANN401 - structlog types its loggers as Any
    """Return a logger: `logger(__name__).info("job ended", state="failed")`."""
    return structlog.get_logger(name)


@contextmanager
def bind(**facts: str) -> Iterator[None]:
    """Add facts to every log line of this thread until the end of the block."""
    token = _facts.set({**_facts.get(), **facts})
    try:
        yield
    finally:
        _facts.reset(token)


def begin(**facts: str) -> None:
    """Replace the facts of every log line of this thread: new work begins."""
    _facts.set(facts)


def note(**facts: str) -> None:
    """Add facts to every log line of this thread until the next work begins."""
    _facts.set({**_facts.get(), **facts})


def _set(number: int) -> None:
    global _LEVEL  # noqa: PLW0603 - one level per process, as in the standard library
    _LEVEL = number


def _with_facts(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Add the facts of the present work; the line's own facts win."""
    for key, value in _facts.get().items():
        event.setdefault(key, value)
    return event


def _at_level(_logger: object, method: str, event: EventDict) -> EventDict:
    """Drop lines below the level. Loggers are cached, so their own level cannot change."""
    if _NUMBERS.get(method, logging.ERROR) < _LEVEL:
        raise structlog.DropEvent
    return event


class _Line:
    """Writes one line to stderr with one write(2), so that lines of threads never mix.

    Only a write that a signal cuts short is continued by another.
    """

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, line: str | bytes) -> None:
        data = line.encode("utf-8", "replace") if isinstance(line, str) else line
        rest = memoryview(data + b"\n")
        while rest:
            rest = rest[os.write(_STDERR, rest) :]

    debug = info = warning = error = critical = exception = msg


def _renderers(*, terminal: bool) -> list[Processor]:
    if terminal:
        # Another formatter may show the values of variables, and those may be secrets.
        plain = structlog.dev.plain_traceback
        return [_without_nulls, structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    return [structlog.processors.format_exc_info, _to_json]


def _without_nulls(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {key: value for key, value in event.items() if value is not None}


def _to_json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a lone surrogate: a name that is not UTF-8
        safe = {key: str(value).encode("utf-8", "replace").decode() for key, value in event.items()}
        return orjson.dumps(safe)


def _to_text(_logger: object, _method: str, line: Any) -> str:  # noqa: ANN401 - what a renderer gives
    """Return the line as text, for the handlers of the standard library."""
    return line.decode() if isinstance(line, bytes) else str(line)


def _named(component: str) -> Processor:
    def add(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["component"] = component
        return event

    return add


#: Keys that were looked at and name no secret. Most lines have only such keys.
_public_keys: set[str] = set()


def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _mask(_logger: object, _method: str, event: EventDict) -> EventDict:
    if event.keys() <= _public_keys:
        return event
    for key in event:
        if _is_secret(key):
            event[key] = MASK
        elif len(_public_keys) < _KEYS_KNOWN:
            _public_keys.add(key)
    return event


# A command has no configuration of its own, and settings log before a process knows its level.
_configure_ours("command", terminal=_is_terminal())
