r"""JSON of records in Redis and of files on volumes, also for names that are not UTF-8.

Such a name is a str with lone surrogates (PEP 383). It is written as `\udcXX` escapes, and reading
returns the same name. orjson does everything else; only such names take the standard library's
slower encoder.
"""

import json
from typing import Any

import orjson


def dumps(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the value as compact JSON; the text is always valid UTF-8."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"))


def loads(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
