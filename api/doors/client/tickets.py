"""The query of a request and the ticket in it, checked; a ticket for another node is passed on."""

import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from http import HTTPStatus

from flask import Response as FlaskResponse
from flask import request
from werkzeug.exceptions import HTTPException
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from api.access import open_answer
from api.http import this_request
from api.routes import Door, bind_log_context
from core.access import (
    AnyTicket,
    ArchiveTicket,
    PersonClaims,
    TicketError,
    UploadTicket,
    read,
    restored,
)
from core.errors import InvalidParameters, Unavailable
from core.names import VFolderId, VFolderPath

_TRUE = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE = frozenset({"f", "false", "n", "no", "off", "0", "none"})
#: Tickets whose signature is remembered, per process.
_TICKETS_KNOWN = 1024


class OnOtherNode(HTTPException):
    """307: another node serves the volume; send the same method and body to its client door."""

    code = HTTPStatus.TEMPORARY_REDIRECT

    def __init__(self, client_url: str) -> None:
        super().__init__()
        query = request.query_string.decode("latin-1")
        self._url = f"{client_url.rstrip('/')}{request.path}?{query}"

    def get_response(self, *_: object, **__: object) -> Response:
        """Return the redirect."""
        return redirect(self._url, self.code)


def query(known: Iterable[str], *, others: bool = False) -> dict[str, str]:
    """Return the query parameters of the request; the first of several with one name counts.

    Raises:
        InvalidParameters: a parameter is unknown and `others` are not allowed.
    """
    parameters = this_request().args.to_dict()
    unknown = sorted(parameters.keys() - set(known))
    if unknown and not others:
        raise InvalidParameters(
            f"Unknown query parameters: {', '.join(unknown)}.",
            data=dict.fromkeys(unknown, "is not a parameter of this route"),
        )
    return parameters


def boolean(parameters: dict[str, str], name: str) -> bool:
    """Return a yes-or-no parameter, in any of the words that clients use; absent means no.

    Raises:
        InvalidParameters: the parameter is another word.
    """
    word = parameters.get(name, "false").lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise InvalidParameters(
        f"The query parameter {name} is true or false.", data={name: "is neither true nor false"}
    )


def target(relpath: str, parameters: dict[str, str]) -> VFolderPath:
    """Return the ticket's path below the request's `dst_dir`.

    Raises:
        PathEscape, InvalidName: a path is absolute, has `..`, or a name that cannot exist.
    """
    return VFolderPath.parse(parameters.get("dst_dir", "")) / VFolderPath.parse(relpath)


def ticket(kind: type[AnyTicket], parameters: dict[str, str], door: Door) -> AnyTicket:
    """Return the checked ticket of the request.

    Raises:
        TicketError: it is missing, or not good for this request.
        OnOtherNode: another node serves its volume.
    """
    token = parameters.get("token")
    if not token:
        raise TicketError("The query parameter token is missing.", "missing")
    checked: AnyTicket = _verified(kind, token, door.settings.storage_proxy.secret)
    if checked.exp <= time.time():
        return read(kind, token, door.settings.storage_proxy.secret)  # it raises: expired
    vfolder = getattr(checked, "vfid", None) or getattr(checked, "virtual_folder_id", None)
    bind_log_context(checked.volume, vfolder)
    if checked.person is not None:
        _check_person(checked, door)
    if not door.volume_access.is_here(checked.volume):
        raise OnOtherNode(_client_url(door, checked))
    if not checked.selection:
        return checked
    names = door.selections.read(checked.selection)
    if names is None:
        raise TicketError("What the ticket names is no longer kept; ask for a new one.", "expired")
    return restored(checked, names)


def _check_person(checked: AnyTicket, door: Door) -> None:
    """Decide again whether the person of a ticket may do its act.

    Raises:
        TicketError: this door serves no people.
        VFolderNotFound, AccessForbidden, Unauthenticated: the permission is gone.
    """
    if checked.person is None or door.settings.vfolder.access is None:
        raise TicketError("This door takes no tickets of people.", "claims")
    _decide(checked, checked.person, door)


def _decide(checked: AnyTicket, person: PersonClaims, door: Door) -> None:
    text = checked.virtual_folder_id if isinstance(checked, ArchiveTicket) else checked.vfid
    act = "entries.write" if isinstance(checked, UploadTicket) else "entries.read"
    door.access.check_ticket(person, checked.volume, VFolderId.parse(text), act)


def decision(checked: AnyTicket, door: Door) -> Callable[[], object] | None:
    """Return what decides about the ticket of a person again; None for one of the manager."""
    person = checked.person
    return None if person is None else partial(_decide, checked, person, door)


def kept(checked: AnyTicket, response: FlaskResponse, door: Door) -> FlaskResponse:
    """Return the answer to a ticket; a long one of a person ends when the permission is gone."""
    decide = decision(checked, door)
    answer = open_answer(response) if decide else None
    if checked.person is not None and decide is not None and answer is not None:
        door.access.streams.add(answer, checked.person.sub, decide)
    return response


@lru_cache(_TICKETS_KNOWN)
def _verified(kind: type[AnyTicket], token: str, secret: str) -> AnyTicket:
    """Return a ticket whose signature is good; all pieces of a file come with one ticket."""
    return read(kind, token, secret)


def _client_url(door: Door, checked: AnyTicket) -> str:
    """Return where the volume is served now; the URL in the ticket was true when it was issued."""
    url = door.volume_access.node_of(checked.volume).client_url or checked.client_url
    if not url:
        raise Unavailable("The node of the volume does not publish the address of its client door.")
    return url
