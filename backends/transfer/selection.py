"""What a transfer takes from its source, as a selection of the tree engine."""

from backends.transfer.endpoints import Endpoint, is_directory
from backends.transfer.remote import RemoteEndpoint
from backends.tree import Bounds, Filter, OnConflict, Selection
from core.errors import EntryExists
from core.jobs.requests import TransferRequest
from core.names import moment_ns

_NS_PER_MS = 1_000_000


def selection_of(request: TransferRequest, requested_ms: int, against: int | None) -> Selection:
    """Return the selection of a request; in every run, ages count from the moment of the request.

    `against` is a descriptor of the target directory, when it exists.
    """
    return Selection(
        filter=Filter(request.filters, requested_ms * _NS_PER_MS) if request.filters else None,
        bounds=Bounds(
            min_bytes=request.min_bytes or 0,
            max_bytes=request.max_bytes,
            oldest_ns=_moment(request.newer_than),
            newest_ns=_moment(request.older_than),
        ),
        against=against,
        on_conflict=OnConflict(request.on_conflict),
        mirror=request.delete_extra,
        stops=request.on_conflict == "fail" or request.on_error == "stop",
    )


def only(name: str) -> Selection:
    """Return the selection of one entry of a directory."""
    return Selection(only=name)


def keeps_file(
    request: TransferRequest, source: Endpoint | RemoteEndpoint, target: Endpoint
) -> bool:
    """Return whether the file at the target stays, as the request's `on_conflict` says.

    Raises:
        EntryExists: the request refuses to replace it, or it is a directory.
    """
    here, there = source.status(), target.status()
    if here is None or there is None:
        return False
    if is_directory(there):
        raise EntryExists(f"{target.path} is a directory.")
    if request.on_conflict == "fail":
        raise EntryExists(f"{target.path} is already there.")
    newer = here.st_mtime_ns > there.st_mtime_ns
    return request.on_conflict == "skip" or (request.on_conflict == "newer" and not newer)


def _moment(text: str | None) -> int | None:
    return None if text is None else moment_ns(text)
