"""Routes of links: their owner makes, changes and revokes them. The visitors' are in `visits`."""

import time
from typing import Any

from flask import Response, request
from msgspec import structs

from api.access import FoundVFolder, RevisionChanged, check_unchanged
from api.access.links import LinkNotFound
from api.doors.people.entries import query
from api.http import answer, no_content
from api.jobs import pointer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    needs,
    parameters,
)
from api.schemas import links as shapes
from api.schemas.people import UNCHANGED
from backends.volumes import entry_trash
from core.access import Link, VFolderRecord, links
from core.access.link_counts import LinkUse
from core.errors import (
    AccessForbidden,
    Conflict,
    NoSpace,
    QuotaExceeded,
    Unsupported,
    VFolderNotFound,
)
from core.names import moment_or_none

blueprint = PeopleResource("links", __name__, description="Links for visitors.")

#: The most links of one vfolder. Those that ended make place, the oldest first.
LINKS_MAX = 1000
DAY_SECONDS = 86_400.0
_WRITES = (RevisionChanged, NoSpace, QuotaExceeded)


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>/links",
    Route(gives={200: RouteAnswer("The links.", shapes.LinkList)}),
)
@needs("links.manage")
def list_links(asked: PersonRequest) -> Response:
    """List the links of a vfolder, those that ended too; their secrets are not kept."""
    query(())
    return _listed([(asked.vfolder, link) for link in asked.vfolder.record.links])


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/links",
    Route(
        takes=shapes.NewLinkBody,
        gives={201: RouteAnswer("Made.", shapes.MadeLink)},
        parameters=(parameters.IF_MATCH,),
        refuses=(Unsupported, *_WRITES),
    ),
)
@needs("links.manage")
def make_link(body: shapes.NewLink, asked: PersonRequest) -> Response:
    """Make a link; its URL is in this answer only.

    A visit never gives more than its maker has then. So a link ends with the grant or membership of
    its maker, with the vfolder, and at its own end.
    """
    found, token, now = asked.vfolder, links.new_token(), time.time()
    check_unchanged(found.record)
    link = Link(
        id=links.new_id(),
        digest=links.digest_of(token) or "",
        kind="drop" if body.kind == "drop" else "read",
        path=str(body.path),
        maker=asked.caller.subject.word.replace("operator:", "user:"),
        note=body.note,
        password=None if body.password is None else links.hashed(body.password),
        max_downloads=body.max_downloads,
        max_bytes=body.max_bytes,
        max_file_bytes=body.max_file_bytes,
        created_at=now,
        expires_at=_end(body.expires_at, now),
    )
    _check_text(link.path)
    _check_allowed(found, link)

    def changed(record: VFolderRecord) -> VFolderRecord:
        kept = _with_place(record.links, now)
        return structs.replace(record, links=(*kept, link))

    asked.service.changed(found, changed)
    base = current_door().settings.vfolder.doors.client_url or request.host_url
    response = answer({**_row(found, link, LinkUse()), "url": f"{base.rstrip('/')}/s/{token}"}, 201)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.operation(
    "GET", "/v1/links", Route(gives={200: RouteAnswer("The links.", shapes.LinkList)})
)
@needs("links.list")
def list_my_links(asked: PersonRequest) -> Response:
    """List the links that the caller made and that were not revoked, of all vfolders."""
    query(())
    maker = asked.caller.subject.word.replace("operator:", "user:")
    entries = current_door().link_visits.entries(links.maker_word(maker))
    rows = []
    for entry in entries:
        for known in asked.service.parts.records.find(f"{entry.volume}:{entry.id}"):
            found = FoundVFolder(known)
            own = (one for one in found.record.links if one.maker == maker)
            rows += [(found, link) for link in own if link.revoked_at is None]
    return _listed(rows)


@blueprint.operation(
    "PATCH",
    "/v1/links/<link_id>",
    Route(
        takes=shapes.LinkChangeBody,
        gives={200: RouteAnswer("Changed.", shapes.LinkRow)},
        refuses=(LinkNotFound, *_WRITES),
    ),
)
@needs("links.manage")
def change_link(body: shapes.LinkChange, asked: PersonRequest) -> Response:
    """Change a link; what the body does not name stays. Its URL stays the same."""
    link, given = _link(asked), body.given
    if "expires_at" in given:
        given["expires_at"] = _end(given["expires_at"], time.time())
    if given.get("password") is not None:
        given["password"] = links.hashed(given["password"])
    changed = structs.replace(link, **given)
    found = _replaced(asked, changed)
    (use,) = current_door().link_visits.counts.use_of([link.id])
    return answer(_row(found, changed, use))


@blueprint.operation(
    "DELETE",
    "/v1/links/<link_id>",
    Route(gives={204: RouteAnswer("Revoked.")}, refuses=(LinkNotFound, *_WRITES)),
)
@needs("links.manage")
def revoke_link(asked: PersonRequest) -> Response:
    """Revoke a link: its URL is that of no link from now on."""
    query(())
    _replaced(asked, structs.replace(_link(asked), revoked_at=time.time()))
    return no_content()


def _link(asked: PersonRequest) -> Link:
    """Return the link that the path names, after its vfolder was decided.

    Raises:
        LinkNotFound: there is none, it was revoked, or the caller does not see its vfolder.
        AccessForbidden: the caller sees the vfolder and does not own it.
    """
    link_id = asked.path["link_id"]
    entries = current_door().link_visits.entries(links.id_word(link_id))
    try:
        for entry in entries:
            asked.about_vfolder(f"{entry.volume}:{entry.id}", fresh=True)
    except VFolderNotFound:
        entries = []
    for link in asked.vfolder.record.links if entries else ():
        if link.id == link_id and link.revoked_at is None:
            return link
    raise LinkNotFound("There is no such link, or it has ended.")


def _replaced(asked: PersonRequest, changed: Link) -> FoundVFolder:
    def change(record: VFolderRecord) -> VFolderRecord:
        kept = tuple(changed if one.id == changed.id else one for one in record.links)
        return structs.replace(record, links=kept)

    return asked.service.changed(asked.vfolder, change)


def _check_allowed(found: FoundVFolder, link: Link) -> None:
    """Refuse a link that would not count.

    Raises:
        AccessForbidden: links are turned off, or only a token says that the maker may share.
    """
    if not current_door().link_visits.are_allowed(found):
        raise AccessForbidden("Links are turned off here; share with a user or a group.")
    supported = current_door().volume_access.on_volume(found.volume, entry_trash.supported)
    if link.kind == "drop" and not supported:
        raise Unsupported("A bucket takes no files by links; make a link of the kind `read`.")
    if not current_door().link_visits.is_within_maker(found, link):
        raise AccessForbidden(
            "Only your token says that you are in the group, and a link would outlive it."
        )


def _end(given: Any, now: float) -> float | None:  # noqa: ANN401 - a moment, None, or not given
    """Return when a link ends.

    Raises:
        InvalidParameters: the end has passed, or is later than the settings allow.
    """
    table = current_door().settings.vfolder.access
    days, most = (table.link_days, table.link_days_max) if table else (0.0, 0.0)
    if given is UNCHANGED:
        return now + days * DAY_SECONDS
    if given is None and most:
        raise pointer("expires_at", f"is missing; a link ends within {most:g} days")
    if given is not None and given <= now:
        raise pointer("expires_at", "has passed")
    if given is not None and most and given > now + most * DAY_SECONDS:
        raise pointer("expires_at", f"is too late; a link ends within {most:g} days")
    return None if given is None else float(given)


def _check_text(path: str) -> None:
    """Refuse a path that no record can keep.

    Raises:
        InvalidParameters: a name of it is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise pointer("path", "has a name that is not UTF-8; link to the directory above") from None


def _with_place(known: tuple[Link, ...], now: float) -> tuple[Link, ...]:
    """Return the links of a record with place for one more: the oldest that ended go.

    Raises:
        Conflict: too many of them are live.
    """
    over = len(known) + 1 - LINKS_MAX
    if over <= 0:
        return known
    ended = {one.id for one in [one for one in known if not links.is_live(one, now)][:over]}
    if len(ended) < over:
        raise Conflict(f"A vfolder has at most {LINKS_MAX} links; revoke some.")
    return tuple(one for one in known if one.id not in ended)


def _listed(found: list[tuple[FoundVFolder, Link]]) -> Response:
    uses = current_door().link_visits.counts.use_of([link.id for _, link in found])
    rows = [_row(place, link, use) for (place, link), use in zip(found, uses, strict=True)]
    response = answer({"links": rows})
    response.headers["Cache-Control"] = "no-store"
    return response


def _row(found: FoundVFolder, link: Link, use: LinkUse) -> dict[str, Any]:
    return {
        "id": link.id,
        "vfolder": found.reference,
        "kind": link.kind,
        "path": link.path,
        "maker": link.maker,
        "note": link.note,
        "has_password": link.password is not None,
        "max_downloads": link.max_downloads,
        "max_bytes": link.max_bytes,
        "max_file_bytes": link.max_file_bytes,
        "downloads": use.downloads,
        "sent_bytes": use.sent_bytes,
        "created_at": moment_or_none(link.created_at),
        "expires_at": moment_or_none(link.expires_at),
        "revoked_at": moment_or_none(link.revoked_at),
        "last_used_at": moment_or_none(use.last_used_at),
    }
