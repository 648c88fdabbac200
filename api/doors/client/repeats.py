"""The last PATCH of an upload that comes again, because its answer was lost.

It is answered as at first, for as long as the store remembers the upload. The body is read and
compared with the file, where that file is still there: another body is no repetition.
"""

import os
from collections.abc import Callable

from flask import Request

from api.doors.client import tus
from api.doors.client.upload_body import BUFFER_BYTES, RequestBody, content_length
from core.errors import InvalidParameters


def start_of_last(request: Request, end: int) -> int | None:
    """Return where the body of a PATCH begins when it may end where the upload does, at `end`.

    None means that it cannot. The length of a body in chunks is not known before its end.
    """
    try:
        start = tus.number(request.headers, "Upload-Offset")
    except InvalidParameters:
        return None
    if start is None or start > end:
        return None
    return start if content_length(request.environ) in (None, end - start) else None


def is_same(
    body: RequestBody, start: int, end: int, file: int | None, on_work: Callable[[int], object]
) -> bool:
    """Read the body; return whether it is what the file has from `start` to `end`.

    Without a file only its length is compared. `on_work` is called before so many bytes of the
    file are read.

    Raises:
        BodyCut, SenderSilent: it ended early.
        OSError: as pread(2).
    """
    view = memoryview(bytearray(min(BUFFER_BYTES, end - start + 1)))
    at, same = start, True
    while received := body.into(view):
        if received < 0:  # a tick without bytes
            continue
        if file is not None and same:
            on_work(received)
            same = os.pread(file, received, at) == view[:received]
        at += received
        if at > end:
            break
    return same and at == end
