"""What a door has for people, as this room sees it: `api.routes.people_parts` makes it."""

from typing import Any, Protocol
from uuid import UUID

from api.http import RequestContext
from backends.volumes.access import AccessRecords
from core.access import Caller, Deciders, Subject


class CallerProof(Protocol):
    """What proves the credential of a request: `api.http.credentials.Credentials`."""

    def caller(self, request: RequestContext) -> Caller:
        """Return who sends a request.

        Raises:
            Unauthenticated, Throttled: it has no valid credential.
        """

    def is_operators_place(self, request: RequestContext) -> bool:
        """Return whether operators may call from where a request comes from."""


class KeyOfUser(Protocol):
    """An API key and its user: `api.http.credentials.KeyOfUser`."""

    @property
    def user(self) -> Subject:
        """The user."""

    @property
    def key(self) -> Any:  # noqa: ANN401 - core.access.credentials.keys.ApiKey, which is loaded late
        """The key."""


class Users(Protocol):
    """What is known of users: `backends.volumes.access.subjects.SubjectStore`."""

    def held_key(self, key_id: str) -> KeyOfUser | None:
        """Return a key by its id; None when there is none."""

    def completed(self, subject: Subject) -> Subject:
        """Return a user with what is kept here: its groups, and whether it is blocked."""

    def links_allowed(self, group: UUID) -> bool:
        """Return whether the links of a group's vfolders count."""


class AccessParts(Protocol):
    """What a door has for people: `api.routes.people_parts.PeopleParts`."""

    @property
    def records(self) -> AccessRecords:
        """The access records of vfolders."""

    @property
    def deciders(self) -> Deciders:
        """Who decides."""

    @property
    def audit(self) -> Any:  # noqa: ANN401 - core.access.audit.AuditLog, which is loaded late
        """The audit log of this node."""

    @property
    def subjects(self) -> Users:
        """Users and groups."""

    @property
    def sign_ins(self) -> Any:  # noqa: ANN401 - core.access.credentials.signins.SignIns, which is loaded late
        """The sign-ins of browsers."""

    @property
    def failures(self) -> Any:  # noqa: ANN401 - core.access.credentials.failures.FailureLimits, loaded late
        """The limits on refused credentials."""

    @property
    def link_counts(self) -> Any:  # noqa: ANN401 - core.access.link_counts.LinkCounts, loaded late
        """How often links were used."""

    @property
    def credentials(self) -> CallerProof:
        """The credentials of the door."""
