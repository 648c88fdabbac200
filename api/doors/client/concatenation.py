"""Joining the parts of an upload into one file (tus concatenation), once however often requested.

The joined upload has an id that follows from its ticket, its parts and its path. So a client that
did not receive the answer repeats the request and gets the same upload.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import replace

import msgspec

from api.doors.client import tus, upload_session
from api.doors.client.upload_session import UploadSession
from backends.fs import translated
from backends.uploads import Staging
from backends.uploads import staging as staging_files
from core.errors import InvalidParameters
from core.names import VFolderPath
from core.uploads import Upload, UploadLeaseLost, UploadNotFound, UploadProgress

#: One copy_file_range(2) moves at most this much (bytes; the kernel's own limit is 2 GiB).
_COPY_BYTES = 1 << 30
#: Hexadecimal digits of an upload's id.
_ID_DIGITS = 32


@tus.implements("concatenation")
def join(session: UploadSession, upload: Upload, ids: list[str]) -> Upload:
    """Publish the parts as one file, and return the finished upload; repeating it is safe.

    Raises:
        InvalidParameters: a part is not complete, or no part.
        UploadNotFound: a part is not there; nothing was joined.
        TooLong: the parts have more bytes than the ticket allows.
        StorageError: see `upload_session.finish`.
    """
    upload = msgspec.structs.replace(upload, id=_id(upload, ids))
    try:
        return _known(session, upload)
    except UploadNotFound:
        pass
    try:
        return _join(session, upload, ids)
    except UploadNotFound:
        return _joined_meanwhile(session, upload, ids)


def _id(upload: Upload, ids: list[str]) -> str:
    facts = "\n".join((upload.volume, upload.vfolder, upload.session, upload.path, *ids))
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:_ID_DIGITS]


def _known(session: UploadSession, upload: Upload) -> Upload:
    return replace(session, url_id=upload.id).progress().upload


def _join(session: UploadSession, upload: Upload, ids: list[str]) -> Upload:
    """Let the kernel append the other parts to the first.

    A cut at any moment leaves the parts unchanged: the appended bytes were never committed.
    """
    parts, total = _complete_parts(session, ids)
    first = replace(session, url_id=ids[0])
    with first.opened(parts[0].upload) as staging, first.leased(staging):
        if staging.settle(parts[0].offset) != parts[0].offset:
            raise UploadNotFound("Bytes of the first part are gone; send it again.")
        for part in parts[1:]:
            _append_part(session, staging, part)
        staging.upload = msgspec.structs.replace(
            parts[0].upload,
            digest=upload.digest,
            new_only=upload.new_only,
            replaces=upload.replaces,
        )
        joined = msgspec.structs.replace(upload, length=total)
        joined = upload_session.finish(staging, joined, VFolderPath.parse(upload.path))
        session.store.create(joined)
    _end_parts(session, parts)
    return joined


def _complete_parts(session: UploadSession, ids: list[str]) -> tuple[list[UploadProgress], int]:
    parts = [replace(session, url_id=part).progress() for part in ids]
    for part in parts:
        if not part.upload.partial or not upload_session.is_complete(part.upload, part.offset):
            raise InvalidParameters("A part is not complete, or not a part; nothing was joined.")
    total = sum(part.offset for part in parts)
    if total > session.ticket.size:
        raise tus.TooLong(f"The ticket allows {session.ticket.size} bytes, the parts have {total}.")
    return parts, total


def _append_part(session: UploadSession, staging: Staging, part: UploadProgress) -> None:
    left = part.offset
    with session.opened(part.upload) as source, translated():
        while left > 0:
            size = min(left, _COPY_BYTES)
            staging.on_work(size)
            moved = os.copy_file_range(source.descriptor, staging.descriptor, size)
            if moved == 0:
                raise UploadNotFound("Bytes of a part are gone; send it again.")
            left -= moved


def _joined_meanwhile(session: UploadSession, upload: Upload, ids: list[str]) -> Upload:
    """Return what another request joined; where its process died after that, record it now.

    Raises:
        UploadNotFound: the parts were not joined.
        UploadLeaseHeld: another request is still joining them.
    """
    try:
        lease = session.acquire(ids[0], lambda: None)
    except UploadNotFound:
        return _known(session, upload)
    try:
        parts, total = _complete_parts(session, ids)
        if any(part.upload.finished for part in parts):
            return _known(session, upload)
        joined = msgspec.structs.replace(upload, length=total)
        joined = upload_session.ended(
            session.backend, joined, parts[0].upload, VFolderPath.parse(upload.path)
        )
        session.store.create(joined)
    except UploadNotFound:
        return _known(session, upload)
    finally:
        session.store.release(lease)
    _end_parts(session, parts)
    return joined


def _end_parts(session: UploadSession, parts: list[UploadProgress]) -> None:
    """Remove the bytes of the parts; their records stay for a client that asks for them again.

    A client that repeats its request asks first how far each part is.
    """
    for part in parts:
        with translated():
            staging_files.remove(session.backend, part.upload)
        with suppress(UploadLeaseLost, UploadNotFound):  # another request ends it just now
            lease = session.acquire(part.upload.id, lambda: True)
            session.store.save(lease, msgspec.structs.replace(part.upload, finished=True))
            session.store.release(lease)
