"""The revision of an access record as HTTP shows it: `ETag`, and `If-Match` (RFC 9110 §13.1.1)."""

from flask import request

from api.access.records import RevisionChanged
from core.access import VFolderRecord


def etag_of(record: VFolderRecord) -> str:
    """Return the entity tag of a record: its revision."""
    return f'"{record.revision}"'


def check_unchanged(record: VFolderRecord) -> None:
    """Refuse a change whose `If-Match` names another revision.

    Raises:
        RevisionChanged: the record has another revision.
    """
    given = request.headers.get("If-Match")
    known = {"*", etag_of(record)}
    if given is not None and not known & {one.strip() for one in given.split(",")}:
        text = f"The record has revision {record.revision} now; read it, then change it again."
        raise RevisionChanged(text, revision=record.revision)
