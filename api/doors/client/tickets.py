"""What a request at the client door asks for: its query, its ticket, and the place they name."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import cast

from flask import current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from api.routes import Door, bind_log_context, current_door
from api.streaming import Budget, Pace
from api.volumes import InlineCalls
from backends.base import Backend
from backends.fs import descriptors, paths
from core.access import AnyTicket, DownloadTicket, TicketError, read
from core.errors import EntryNotFound, Forbidden, InvalidParameters, PathEscape, Unavailable
from core.names import VFolderId, VFolderPath

_TOP = VFolderPath(())
_GATES = "vfolder.gates"
_TRUE = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE = frozenset({"f", "false", "n", "no", "off", "0", "none"})


def query(known: Iterable[str], *, others: bool = False) -> dict[str, str]:
    """The query parameters of the request, each at most once meant.

    Raises:
        InvalidParameters: an unknown one, unless `others` may be there.
    """
    given = request.args.to_dict()
    unknown = sorted(given.keys() - set(known))
    if unknown and not others:
        raise InvalidParameters(
            f"Unknown query parameters: {', '.join(unknown)}.",
            data=dict.fromkeys(unknown, "is not a parameter of this route"),
        )
    return given


def boolean(given: dict[str, str], name: str) -> bool:
    """A yes-or-no parameter in any of the words that clients use; absent is no.

    Raises:
        InvalidParameters: any other word.
    """
    word = given.get(name, "false").lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise InvalidParameters(
        f"The query parameter {name} is true or false.", data={name: "is neither true nor false"}
    )


def ticket(kind: type[AnyTicket], given: dict[str, str], door: Door) -> AnyTicket:
    """The ticket of the request, checked.

    Raises:
        TicketError: missing or not good for this.
    """
    token = given.get("token")
    if not token:
        raise TicketError("The query parameter token is missing.", "missing")
    found: AnyTicket = _verified(kind, token, door.settings.storage_proxy.secret)
    if found.exp <= time.time():
        return read(kind, token, door.settings.storage_proxy.secret)  # which says that it expired
    bind_log_context(
        found.volume, getattr(found, "vfid", None) or getattr(found, "virtual_folder_id", None)
    )
    if not door.volume_access.is_here(found.volume):
        raise OnOtherNode(_client_url(door, found))
    return found


class OnOtherNode(HTTPException):
    """Another node has the volume: ask its client door the same, method and body too (RFC 9110)."""

    code = HTTPStatus.TEMPORARY_REDIRECT

    def __init__(self, client_url: str) -> None:
        super().__init__()
        query = request.query_string.decode("latin-1")
        self._url = f"{client_url.rstrip('/')}{request.path}?{query}"

    def get_response(self, *_: object, **__: object) -> Response:
        """Where to."""
        return redirect(self._url, self.code)


def _client_url(door: Door, found: AnyTicket) -> str:
    """Where the volume is now; what the ticket says was true when it was issued."""
    url = door.volume_access.node_of(found.volume).client_url or found.client_url
    if not url:
        raise Unavailable("The node of the volume does not say where its client door is.")
    return url


@lru_cache(maxsize=1024)
def _verified(kind: type[AnyTicket], token: str, secret: str) -> AnyTicket:
    """A ticket whose signature is good: ranges and pieces of one file come with the same."""
    return read(kind, token, secret)


def gates() -> InlineCalls:
    """The gates to the volumes of this process."""
    found = current_app.extensions.get(_GATES)
    if found is None:
        found = current_app.extensions.setdefault(_GATES, InlineCalls(current_door().deadlines))
    return cast("InlineCalls", found)


def target(relpath: str, given: dict[str, str]) -> VFolderPath:
    """The ticket's path below the request's `dst_dir`.

    Raises:
        PathEscape, InvalidName: absolute, with `..`, or with a name that cannot be.
    """
    return VFolderPath.parse(given.get("dst_dir", "")) / VFolderPath.parse(relpath)


@dataclass(frozen=True, slots=True)
class DownloadSource:
    """Where a download reads: a backend's vfolder, or a directory below a configured root."""

    backend: Backend
    vfolder: VFolderId
    root: Path | None = None
    below: VFolderPath = _TOP
    #: What the volume's streams may move; a root is on no volume.
    budget: Budget | None = None

    def pace(self) -> Pace:
        """Turns for one stream from here."""
        return Pace(self.budget)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A directory descriptor of the top; no path leads out of it.

        Raises:
            VFolderNotFound, EntryNotFound: it is not there.
        """
        if self.root is None:
            with self.backend.open_vfolder(self.vfolder) as top:
                yield top
            return
        with descriptors.opened(str(self.root)) as root:
            top = paths.open_directory(root, self.below)
        try:
            yield top
        finally:
            os.close(top)


def place(permission: DownloadTicket, door: Door) -> DownloadSource:
    """Where a download ticket points.

    Raises:
        UnknownVolume, InvalidName: from the ticket.
        Forbidden: an unmanaged path outside of the configured roots.
    """
    backend = door.volumes.get(permission.volume)
    vfolder = VFolderId.parse(permission.vfid)
    if permission.unmanaged_path is None:
        return DownloadSource(backend, vfolder, budget=door.stream_budgets.of(permission.volume))
    path = Path(permission.unmanaged_path)
    for root in map(Path, door.settings.vfolder.doors.unmanaged_roots):
        if ".." not in path.parts and path.is_relative_to(root):
            return DownloadSource(backend, vfolder, root, VFolderPath(path.relative_to(root).parts))
    raise Forbidden("This unmanaged folder is not among those this node gives out.")


@contextmanager
def hidden_escapes() -> Iterator[None]:
    """A reader whose path leads out of the vfolder is told that there is nothing."""
    try:
        yield
    except PathEscape:
        raise EntryNotFound("No such file in the vfolder.") from None
