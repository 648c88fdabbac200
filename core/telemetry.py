"""Logs: one event per line, «verb noun» in past tense, facts as fields, never a secret.

Every process calls `configure` once. Lines are JSON on stderr, or coloured text on a terminal.
What `bind` adds (request id, job id) is in every line of that request or job, also in the lines
of libraries that log through the standard library.
"""

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import orjson
import structlog

#: The level when the configuration names none.
DEFAULT_LEVEL = "INFO"
#: What a secret is replaced with.
MASK = "***"

_SECRET_KEY = re.compile(r"secret|password|token|authorization|api[-_]?key", re.IGNORECASE)


def configure(component: str, level: str = DEFAULT_LEVEL) -> None:
    """Send the logs of this process to stderr, each line with the component's name.

    Raises:
        ValueError: the level is none of DEBUG, INFO, WARNING, ERROR, CRITICAL.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(component),
        _mask,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers()],
        ),
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def logger(name: str) -> Any:  # noqa: ANN401 - structlog types its loggers as Any
    """A logger: `logger(__name__).info("job ended", state="failed")`."""
    return structlog.stdlib.get_logger(name)


@contextmanager
def bind(**facts: str) -> Iterator[None]:
    """Add facts to every log line of this thread until the end of the block."""
    with structlog.contextvars.bound_contextvars(**facts):
        yield


def _renderers() -> list[structlog.typing.Processor]:
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, _to_json]


def _to_json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a lone surrogate: a name that is not UTF-8
        safe = {key: str(value).encode("utf-8", "replace").decode() for key, value in event.items()}
        return orjson.dumps(safe).decode()


def _named(component: str) -> structlog.typing.Processor:
    def add(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["component"] = component
        return event

    return add


def _mask(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for key in event:
        if _SECRET_KEY.search(key):
            event[key] = MASK
    return event
