"""What may be asked of a job: one request per verb, with the locks it needs and its natural key.

A request arrives checked by the door's schema; here it is checked again, because a record in Redis
is not proof of anything. Ids are kept in their text forms, so a request is plain JSON.
"""

from core.jobs.requests.base import (
    Lock,
    LockMode,
    Request,
    SingleVFolderRequest,
    invalid_field,
    lock_key,
    scope_of,
)
from core.jobs.requests.transfer import (
    RULE_LENGTH_MAX,
    RULES_MAX,
    AssistRequest,
    TransferRequest,
)
from core.jobs.requests.upkeep import (
    AdoptRequest,
    PurgeRequest,
    RescanRequest,
    RestoreRequest,
    SnapshotRequest,
)
from core.jobs.requests.verbs import (
    FAST_PATHS_MAX,
    KEEP_MAX_SECONDS,
    PATHS_MAX,
    VERBS,
    CloneRequest,
    DeleteFilesRequest,
    DeleteRequest,
    ExtractRequest,
    UsageRequest,
    encode,
    parse,
)

__all__ = [
    "FAST_PATHS_MAX",
    "KEEP_MAX_SECONDS",
    "PATHS_MAX",
    "RULES_MAX",
    "RULE_LENGTH_MAX",
    "VERBS",
    "AdoptRequest",
    "AssistRequest",
    "CloneRequest",
    "DeleteFilesRequest",
    "DeleteRequest",
    "ExtractRequest",
    "Lock",
    "LockMode",
    "PurgeRequest",
    "Request",
    "RescanRequest",
    "RestoreRequest",
    "SingleVFolderRequest",
    "SnapshotRequest",
    "TransferRequest",
    "UsageRequest",
    "encode",
    "invalid_field",
    "lock_key",
    "parse",
    "scope_of",
]
