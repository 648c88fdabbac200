"""Who asks, and what proves it. Values only: nothing here reads a credential."""

from typing import Literal
from uuid import UUID

from msgspec import Struct

from core.access.permissions import Scope

SubjectKind = Literal["user", "link", "operator", "manager"]
CredentialKind = Literal["key", "token", "cookie", "ticket", "link", "secret"]


class Subject(Struct, frozen=True, kw_only=True):
    """Who asks. The id decides; the name is for people."""

    kind: SubjectKind
    #: None: the manager, and an operator who is no user.
    id: UUID | None = None
    groups: frozenset[UUID] = frozenset()
    #: The groups in which this subject is a group admin.
    admin_of: frozenset[UUID] = frozenset()
    name: str = ""
    #: The manager asks, and the answer is the one that this user would get.
    on_behalf: bool = False
    #: A blocked user may do nothing, with no credential and by none of its links.
    blocked: bool = False
    #: Of a visitor: the one who made the link, as of now. A visitor never may more.
    maker: "Subject | None" = None

    @property
    def word(self) -> str:
        """Return the subject as records and jobs name it: `user:<uuid>`, or the bare kind."""
        return f"{self.kind}:{self.id}" if self.id else self.kind


class CredentialFacts(Struct, frozen=True, kw_only=True):
    """What is known of a credential that was accepted; never its secret."""

    kind: CredentialKind
    #: Names it in logs and lists.
    id: str
    scopes: frozenset[Scope]
    #: Names of the volumes and ids of the vfolders that it is good for; None is all.
    volumes: frozenset[str] | None = None
    vfolders: frozenset[UUID] | None = None
    #: Seconds of the epoch; None is no end.
    expires_at: float | None = None
    #: How long it still counts after its end (seconds), where the clock of its issuer may differ.
    leeway: float = 0.0

    def has_ended(self, now: float) -> bool:
        """Return whether it counts no more."""
        return self.expires_at is not None and now >= self.expires_at + self.leeway


class Caller(Struct, frozen=True, kw_only=True):
    """One request: its subject, its credential, and where it came from."""

    subject: Subject
    credential: CredentialFacts
    address: str = ""
    request_id: str = ""
