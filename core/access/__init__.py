"""Access: who may do what, credentials, and signed tickets. Knows no volume, job and HTTP.

Modules that need `audit`, `link_counts` or one of `credentials` import it by name: they load
libraries that most processes do not need.
"""

from core.access import links, records, tickets
from core.access.cache import (
    AccessCache,
    AccessChange,
    CacheKey,
    group_key,
    record_key,
    user_key,
)
from core.access.deciders import Deciders
from core.access.decision import (
    AccessReason,
    DeciderKind,
    Decision,
    Held,
    JobResource,
    ProtectedResource,
    ScopeResource,
    VFolderResource,
    combined,
    covers_places,
    decide,
    decide_rule,
    held,
)
from core.access.explanation import explained
from core.access.index import AccessIndex, IndexEntry
from core.access.permissions import PERSON_SCOPES, Permission, Scope
from core.access.records import (
    Grant,
    Link,
    RecordForged,
    RecordOwner,
    Seals,
    SubjectRecord,
    VFolderRecord,
)
from core.access.rules import ACTS, AccessRule, Need, Role
from core.access.subjects import Caller, CredentialFacts, CredentialKind, Subject, SubjectKind
from core.access.tickets import (
    AnyTicket,
    ArchiveTicket,
    DownloadTicket,
    PersonClaims,
    Ticket,
    TicketError,
    UploadTicket,
    read,
    restored,
)

__all__ = [
    "ACTS",
    "PERSON_SCOPES",
    "AccessCache",
    "AccessChange",
    "AccessIndex",
    "AccessReason",
    "AccessRule",
    "AnyTicket",
    "ArchiveTicket",
    "CacheKey",
    "Caller",
    "CredentialFacts",
    "CredentialKind",
    "DeciderKind",
    "Deciders",
    "Decision",
    "DownloadTicket",
    "Grant",
    "Held",
    "IndexEntry",
    "JobResource",
    "Link",
    "Need",
    "Permission",
    "PersonClaims",
    "ProtectedResource",
    "RecordForged",
    "RecordOwner",
    "Role",
    "Scope",
    "ScopeResource",
    "Seals",
    "Subject",
    "SubjectKind",
    "SubjectRecord",
    "Ticket",
    "TicketError",
    "UploadTicket",
    "VFolderRecord",
    "VFolderResource",
    "audit",
    "callout",
    "combined",
    "covers_places",
    "credentials",
    "decide",
    "decide_rule",
    "explained",
    "group_key",
    "held",
    "link_counts",
    "links",
    "read",
    "record_key",
    "records",
    "restored",
    "tickets",
    "user_key",
]
