"""Visits by links: which link a token means, whether it counts now, and what its visitor may.

A visitor has the lesser of the link and of what its maker has at this moment. Unknown, expired,
revoked and used up links, and those whose maker lost the permission, get the same 404.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import redis
from flask import Response

from api.access.decisions import AccessService
from api.access.records import FoundVFolder
from api.access.streams import open_answer
from api.http import RequestContext, this_request
from api.http.credentials import caller_address
from core.access import (
    ACTS,
    AccessIndex,
    Caller,
    CredentialFacts,
    Decision,
    IndexEntry,
    Link,
    Subject,
    links,
    records,
)
from core.access.credentials.failures import FailureLimits
from core.access.link_counts import LinkCounts
from core.errors import (
    AccessUnavailable,
    Forbidden,
    NotFound,
    VFolderNotFound,
)
from core.names import QuotaScope, VFolderId
from core.settings import Settings

#: The header by which programs send the password of a link.
PASSWORD_HEADER = "X-Link-Password"  # noqa: S105 - a name
#: A password buys a cookie for so long (seconds).
VISIT_SECONDS = 3600
#: A proved password is not computed again for so long (seconds), and how many are remembered.
REMEMBER_SECONDS = 60.0
REMEMBERED_MAX = 1000
_VISIT_BYTES = 12
_COOKIE = "vfolder-link-"
_LABEL = b"link-visit"
_NO_LINK = "There is no such link, or it has ended."
#: What a visitor may, by the kind of the link.
_RULES = {"read": ACTS["link.read"], "drop": ACTS["link.drop"]}


class LinkNotFound(NotFound):
    """No link has this token or id; or it ended, or its maker has no permission any more."""

    error_code = "auth_read_not-found"
    kind = "auth/link/not-found"
    title = "No such link"


class LinkPasswordNeeded(Forbidden):
    """The link has a password, and the request has none, or a wrong one."""

    error_code = "auth_access_unauthorized"
    kind = "auth/link/password"
    title = "The link has a password"


@dataclass(frozen=True, slots=True)
class LinkVisit:
    """One request by a link that counts now."""

    found: FoundVFolder
    link: Link
    caller: Caller
    decision: Decision
    #: Names the visitor: its visit by cookie, else its address, which others may have, too.
    visitor: str
    has_cookie: bool


class LinkVisits:
    """The visits by links, for one process of a door. Safe for threads."""

    def __init__(
        self,
        settings: Settings,
        service: AccessService,
        limits: FailureLimits,
        counts: LinkCounts,
    ) -> None:
        self._table_allows = bool(settings.vfolder.access and settings.vfolder.access.links)
        self._service = service
        self._limits = limits
        #: How often links were used.
        self.counts = counts
        self._index = AccessIndex(settings)
        self._key = records.derived_key(settings.seal_secrets[0].encode(), _LABEL)
        self._proxies = settings.vfolder.doors.trusted_proxies
        self._proved: dict[str, float] = {}

    # -- One visit ---------------------------------------------------------------------------------
    def visit(self, token: str, *, kind: str = "", without_password: bool = False) -> LinkVisit:
        """Return the visit of the current request, where its link counts now.

        `kind` is that of the links that the route is for; another one looks as if it were absent.

        Raises:
            LinkNotFound: no such link counts now.
            LinkPasswordNeeded: its password is missing or wrong.
            Throttled: the visitor's network has to pause.
            AccessUnavailable: the store, or what decides, is away.
        """
        request = this_request()
        address = caller_address(request.environ, self._proxies)
        found = self._found(token, address)
        if found is None or (kind and found[1].kind != kind):
            raise LinkNotFound(_NO_LINK)
        visit = self._decided(*found, request, address)
        if not without_password:
            self.check_password(visit)
        return visit

    def _found(self, token: str, address: str) -> tuple[FoundVFolder, Link] | None:
        name = f"link {token[:6]}"
        self._limits.check(address, name)
        digest = links.digest_of(token)
        entry = self._entry(links.secret_word(digest)) if digest else None
        if digest is None or entry is None:
            self._limits.failed(address, name)
            return None
        found = self._read(entry)
        for link in found.record.links if found else ():
            if found and hmac.compare_digest(link.digest, digest):
                return found, link
        return None

    def _entry(self, word: str) -> IndexEntry | None:
        entries = self.entries(word)
        return entries[0] if entries else None

    def entries(self, word: str) -> list[IndexEntry]:
        """Return the vfolders that have a link of this word (`core.access.links`).

        Raises:
            AccessUnavailable: the store is away.
        """
        try:
            return self._index.shared_with([word])
        except redis.RedisError as error:
            raise AccessUnavailable("The store that finds links does not answer.") from error

    def _read(self, entry: IndexEntry) -> FoundVFolder | None:
        vfolder = VFolderId(QuotaScope.parse(entry.scope), entry.id)
        try:
            return FoundVFolder(self._service.parts.records.read(entry.volume, vfolder))
        except VFolderNotFound:
            return None

    def _decided(
        self, found: FoundVFolder, link: Link, request: RequestContext, address: str
    ) -> LinkVisit:
        caller = self.visitor_of(found, link, address, request.request_id or "")
        decision = self._decide(found, link, caller)
        own = self._visit_of(link, request)
        return LinkVisit(found, link, caller, decision, own or f"at {address}", bool(own))

    def _decide(self, found: FoundVFolder, link: Link, caller: Caller) -> Decision:
        """Return the decision about a visitor, which is yes.

        Raises:
            LinkNotFound: the link ended, or its maker lost the permission.
        """
        if not (self.are_allowed(found) and links.is_live(link, time.time())):
            raise LinkNotFound(_NO_LINK)
        decision = self._service.deciders.decide_rule(
            caller, _RULES[link.kind], {"vfolder": found.resource}
        )
        if not decision.allowed:
            raise LinkNotFound(_NO_LINK)
        return decision

    def are_allowed(self, found: FoundVFolder) -> bool:
        """Return whether links of a vfolder count: by the settings, its record, and its group.

        Raises:
            StorageError: the record of the group cannot be read.
        """
        record = found.record
        if not (self._table_allows and record.links_allowed):
            return False
        if record.owner.kind == "user":
            return True
        return self._service.parts.subjects.links_allowed(record.owner.id)

    def decide_again(self, visit: LinkVisit) -> None:
        """Decide a visit as of now, with the present link and what its maker has.

        Raises:
            LinkNotFound, VFolderNotFound: it is not allowed any more.
            Unavailable: what decides is away.
        """
        place = visit.found
        found = FoundVFolder(self._service.parts.records.read(place.volume, place.vfolder))
        for link in found.record.links:
            if link.id == visit.link.id:
                self._decide(found, link, self.visitor_of(found, link))
                return
        raise LinkNotFound(_NO_LINK)

    def keep_deciding(self, visit: LinkVisit, response: Response) -> Response:
        """Decide a long answer again and again; it ends when that is refused."""
        answer = open_answer(response)
        if answer is not None:
            decide = partial(self.decide_again, visit)
            self._service.streams.add(answer, f"link:{visit.link.id}", decide)
        return response

    def visitor_of(
        self, found: FoundVFolder, link: Link, address: str = "", request_id: str = ""
    ) -> Caller:
        """Return the visitor of a link: it never has more than the maker has now."""
        user = UUID(link.maker.partition(":")[2])
        maker = self._service.parts.subjects.completed(Subject(kind="user", id=user))
        credential = CredentialFacts(
            kind="link",
            id=link.id,
            scopes=_RULES[link.kind].scopes,
            volumes=frozenset({found.volume}),
            vfolders=frozenset({found.record.id}),
            expires_at=link.expires_at,
        )
        return Caller(
            subject=Subject(kind="link", maker=maker),
            credential=credential,
            address=address,
            request_id=request_id,
        )

    def is_within_maker(self, found: FoundVFolder, link: Link) -> bool:
        """Return whether a link would count now: its maker has what it gives, without a token."""
        caller = self.visitor_of(found, link)
        resources = {"vfolder": found.resource}
        return self._service.deciders.decide_rule(caller, _RULES[link.kind], resources).allowed

    # -- Audit and counts --------------------------------------------------------------------------
    def note(self, visit: LinkVisit) -> None:
        """Write the line of an opening by a link."""
        reference = visit.found.reference
        rule = _RULES[visit.link.kind]
        self._service.note(visit.caller, rule, visit.decision, vfolder=reference)

    def count_download(self, visit: LinkVisit, entry: str) -> None:
        """Count a download once per visitor, entry and hour.

        Raises:
            LinkNotFound: the link is used up.
            AccessUnavailable: its uses cannot be counted now.
        """
        link = visit.link
        if not self.counts.downloaded(link.id, visit.visitor, entry, link.max_downloads):
            raise LinkNotFound(_NO_LINK)

    # -- Passwords ---------------------------------------------------------------------------------
    def begin(self, visit: LinkVisit, password: str) -> tuple[str, str]:
        """Return name and text of the cookie that a right password buys for `VISIT_SECONDS`.

        A visitor that has a cookie goes on with its visit.

        Raises:
            LinkPasswordNeeded: the password is wrong.
            Throttled: too many were.
        """
        self._prove(visit.link, password, visit.caller.address)
        ends = int(time.time()) + VISIT_SECONDS
        own = self._visit_of(visit.link, this_request()) or secrets.token_urlsafe(_VISIT_BYTES)
        value = f"{own}.{ends}"
        return f"{_COOKIE}{visit.link.id}", f"{value}.{self._mac(visit.link, value)}"

    def check_password(self, visit: LinkVisit) -> None:
        """Check the password of the current request, or the cookie that it bought.

        Raises:
            LinkPasswordNeeded: it has neither, or a wrong password.
            Throttled: too many were wrong.
        """
        request = this_request()
        if visit.link.password is None or self._visit_of(visit.link, request):
            return
        given = request.headers.get(PASSWORD_HEADER)
        if given is None:
            raise LinkPasswordNeeded(
                f"Send the password in the header {PASSWORD_HEADER}, or exchange it for a cookie."
            )
        self._prove(visit.link, given, visit.caller.address)

    def _prove(self, link: Link, password: str, address: str) -> None:
        if link.password is None:
            return
        text = f"{link.password}\0{password}".encode("utf-8", "surrogatepass")
        known, now = hashlib.sha256(text).hexdigest(), time.monotonic()
        if self._proved.get(known, 0.0) > now:
            return
        name = f"link {link.id}"
        self._limits.check(address, name)
        if not links.is_password(password, link.password):
            self._limits.failed(address, name)
            raise LinkPasswordNeeded("The password of the link is wrong.")
        self._limits.succeeded(address, name)
        if len(self._proved) >= REMEMBERED_MAX:
            self._proved.clear()
        self._proved[known] = now + REMEMBER_SECONDS

    def _visit_of(self, link: Link, request: RequestContext) -> str:
        """Return the visit that the cookie of a request proves; empty without one."""
        text = request.cookies.get(f"{_COOKIE}{link.id}", "")
        value, _, mac = text.rpartition(".")
        visit, _, ends = value.partition(".")
        if not ends.isdigit() or int(ends) <= time.time():
            return ""
        return visit if hmac.compare_digest(mac, self._mac(link, value)) else ""

    def _mac(self, link: Link, value: str) -> str:
        """Bind a visit to its link and to the present password."""
        text = f"{link.digest}\0{link.password or ''}\0{value}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
