"""Tickets: signed permission for one operation on data (JWT, RFC 7519, HS256).

The manager door issues tickets and the client door checks them; no other component reads them. The
claims are those of the reference service, so that both can share a secret during a migration.
"""

import time
from functools import partial
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

import jwt
from msgspec import Meta, Struct, ValidationError, convert, structs, to_builtins

from core.errors import InvalidParameters

ALGORITHM = "HS256"
#: Claims that the reference service does not have; an empty one is left out.
OWN_CLAIMS = ("client_url", "selection", "person")
#: The audience of tickets for people; a token of an issuer has another one.
PERSON_AUDIENCE = "vfolder-data"
#: No file is larger.
SIZE_MAX_BYTES = 2**63 - 1


class PersonClaims(Struct, frozen=True, kw_only=True):
    """The holder of a ticket: what a decision looks at, and the id of its credential."""

    #: `user:<uuid>`, or `operator:<uuid>`.
    sub: str
    #: Kind and id of the credential that asked for the ticket: `key:<id>`.
    cid: str
    groups: list[UUID] = []
    admin_of: list[UUID] = []


class DownloadTicket(Struct, frozen=True, kw_only=True):
    """Permission to download one entry of a vfolder."""

    volume: str
    vfid: str
    relpath: str
    exp: float
    op: str = "download"
    archive: bool = False
    unmanaged_path: str | None = None
    #: The client door of the node that serves the volume; empty for this node.
    client_url: str = ""
    #: The name of a list in the store, with what would make the ticket too long for a URL.
    selection: str = ""
    #: None: the manager's, which is decided by its signature alone.
    person: PersonClaims | None = None


class UploadTicket(Struct, frozen=True, kw_only=True):
    """Permission for one upload of `size` bytes into a vfolder; with `tree`, for many."""

    volume: str
    vfid: str
    relpath: str
    size: Annotated[int, Meta(ge=0, le=SIZE_MAX_BYTES)]
    session: str
    exp: float
    op: str = "upload"
    #: Permit any number of uploads below the directory `relpath`, each of at most `size` bytes.
    tree: bool = False
    client_url: str = ""
    selection: str = ""
    #: None: the manager's, which is decided by its signature alone.
    person: PersonClaims | None = None


class ArchiveTicket(Struct, frozen=True, kw_only=True):
    """Permission to download several entries of a vfolder as one archive."""

    volume: str
    virtual_folder_id: str
    #: The entries; empty where `selection` names them.
    files: list[str]
    exp: float
    filename: str | None = None
    operation: str = "download"
    client_url: str = ""
    selection: str = ""
    person: PersonClaims | None = None


Ticket = DownloadTicket | UploadTicket | ArchiveTicket
AnyTicket = TypeVar("AnyTicket", DownloadTicket, UploadTicket, ArchiveTicket)


class TicketError(InvalidParameters):
    """A ticket is missing, unreadable, expired or for another operation; `reason` says which."""

    kind = "storage/invalid-api-params"
    title = "Invalid ticket"

    def __init__(self, detail: str, reason: str = "invalid") -> None:
        super().__init__(detail, data={"token": detail}, reason=reason)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return (TicketError, (self.detail, self.reason))


def expiry(lifetime_seconds: float) -> int:
    """Return the `exp` claim of a ticket that is issued now."""
    return int(time.time() + lifetime_seconds)


def issue(ticket: Ticket, secret: str) -> str:
    """Return the signed text of a ticket."""
    claims = to_builtins(ticket)
    for own in OWN_CLAIMS:
        if not claims.get(own, True):
            del claims[own]
    if "person" in claims:
        claims |= {"aud": PERSON_AUDIENCE, "jti": uuid4().hex}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def names_of(ticket: Ticket) -> list[str]:
    """Return the paths of a ticket, whose length the caller chose."""
    match ticket:
        case ArchiveTicket():
            return ticket.files
        case DownloadTicket(unmanaged_path=str(top)):
            return [ticket.relpath, top]
        case _:
            return [ticket.relpath]


def shortened(ticket: Ticket, selection: str) -> Ticket:
    """Return the ticket with the name of a selection in place of its paths."""
    match ticket:
        case ArchiveTicket():
            return structs.replace(ticket, files=[], selection=selection)
        case DownloadTicket(unmanaged_path=str()):
            return structs.replace(ticket, relpath="", unmanaged_path="", selection=selection)
        case _:
            return structs.replace(ticket, relpath="", selection=selection)


def restored(ticket: AnyTicket, names: list[str]) -> AnyTicket:
    """Return a shortened ticket with its paths, as `names_of` returned them."""
    if isinstance(ticket, ArchiveTicket):
        return structs.replace(ticket, files=names)
    if isinstance(ticket, DownloadTicket) and ticket.unmanaged_path is not None:
        return structs.replace(ticket, relpath=names[0], unmanaged_path=names[1])
    return structs.replace(ticket, relpath=names[0])


def read(kind: type[AnyTicket], token: str, secret: str) -> AnyTicket:
    """Return the ticket of a signed text, after its signature, expiry and kind were checked.

    Raises:
        TicketError: the ticket is not valid; `reason` is `expired`, `signature`, `decode` or
            `claims`.
    """
    try:
        claims = _claims(token, secret)
    except jwt.ExpiredSignatureError as error:
        raise TicketError("The ticket has expired; ask for a new one.", "expired") from error
    except jwt.InvalidSignatureError as error:
        raise TicketError("The ticket was not signed by this service.", "signature") from error
    except (jwt.PyJWTError, ArithmeticError, ValueError, RecursionError) as error:
        raise TicketError("The ticket cannot be read.", "decode") from error
    try:
        ticket = convert(claims, kind, strict=True)
        _check_audience(claims)
    except ValidationError as error:
        raise TicketError(
            "The ticket lacks a claim that this operation needs.", "claims"
        ) from error
    operation = "upload" if kind is UploadTicket else "download"
    if getattr(ticket, "operation", getattr(ticket, "op", None)) != operation:
        raise TicketError(f"The ticket is not for {operation}.", "claims")
    return ticket


def _claims(token: str, secret: str) -> dict[str, Any]:
    """Return the claims of a signed text; only tickets for people have an audience."""
    decode = partial(
        jwt.decode, token, secret, algorithms=[ALGORITHM], options={"require": ["exp"]}
    )
    try:
        return decode()
    except jwt.InvalidAudienceError:
        return decode(audience=PERSON_AUDIENCE)


def _check_audience(claims: dict[str, Any]) -> None:
    """Raise ValidationError unless the audience is that of such a ticket."""
    wanted = PERSON_AUDIENCE if claims.get("person") else None
    if claims.get("aud") != wanted:
        raise ValidationError("The audience is another one.")
