"""Uploads as forms (`multipart/form-data`): one file, and text fields in any order."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.formparser import FormDataParser

from api.http import problems
from core.errors import MalformedRequest

#: The largest text field of a form; the parser holds as much of the form in memory (bytes).
FIELD_MAX_BYTES = 1024 * 1024
#: Parts of a form: the file, its fields, and some that are not read.
PARTS_MAX = 10
#: An upload that sends nothing for this long is given up (seconds).
SILENCE_SECONDS = 60.0
TICK_SECONDS = 5.0
Environ = dict[str, Any]


class Receiver(Protocol):
    """What the parser of forms does with a file."""

    def write(self, data: bytes, /) -> int:
        """Take the next bytes."""

    def seek(self, offset: int, /) -> int:
        """Move back to the beginning, at the end of the file."""


def receive_form(
    environ: Environ, make: Callable[[], Receiver], needed: str
) -> MultiDict[str, str]:
    """Receive a form whose file goes where `make` says; return its text fields.

    Raises:
        MalformedRequest: the form is malformed, cut off, has not one file, or lacks the field.
        RequestSlow: it does not arrive.
    """
    parts = 0

    def stream(*_: object, **__: object) -> Receiver:
        nonlocal parts
        parts += 1
        if parts > 1:
            raise MalformedRequest("The form has more than one file; send one at a time.")
        return make()

    parser = FormDataParser(
        stream_factory=stream,  # type: ignore[arg-type] # the parser calls write and seek
        max_form_memory_size=FIELD_MAX_BYTES,
        max_form_parts=PARTS_MAX,
        silent=False,
    )
    form, received = _parsed(environ, parser)
    if "file" not in received:
        raise MalformedRequest("The form has no file; send it as the field `file`.")
    if not form.get(needed):
        raise MalformedRequest(f"The form has no field `{needed}`, which says where the file goes.")
    return form


def _parsed(
    environ: Environ, parser: FormDataParser
) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
    source = environ["wsgi.input"]
    try:
        with source.watched(TICK_SECONDS, SILENCE_SECONDS, lambda _came: None):
            _, form, received = parser.parse_from_environ(environ)
    except TimeoutError:
        raise problems.RequestSlow("The form did not arrive in time.") from None
    except ValueError as error:
        raise MalformedRequest("The form is malformed or was cut off.") from error
    return form, received


class ReceivedForm(NamedTuple):
    """A form whose file is in a temporary file."""

    name: str
    content_type: str | None
    descriptor: int
    size: int


@contextmanager
def parsed_form(environ: Environ, needed: str) -> Iterator[ReceivedForm]:
    """Receive a form completely, its file in a temporary file that the end of the block removes.

    Raises:
        MalformedRequest, RequestSlow: as `receive_form`.
    """
    with tempfile.TemporaryFile() as file:
        form = receive_form(environ, lambda: file, needed)
        file.flush()
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        yield ReceivedForm(form[needed], form.get("content_type"), descriptor, size)
