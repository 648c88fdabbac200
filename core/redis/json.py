r"""JSON as text, also for names that are not UTF-8.

Such a name is a str with lone surrogates (PEP 383); it is written as `\udcXX` escapes, and what
reads them gives the very name again. orjson does all else; only such texts take the standard
library's slower way.
"""

import json
from typing import Any

import orjson


def dumps(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """The value as compact JSON that any UTF-8 store takes."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"))


def loads(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
