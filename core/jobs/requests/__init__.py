"""Requests of jobs: one class per verb, with its locks and natural key. Knows no store.

The door's schema has checked a request before. It is validated here again, because a worker reads
it from a record in Redis, which is not trusted. Ids stay text, so that a request is plain JSON.
"""

from core.jobs.requests.artifacts import (
    MODELS_MAX,
    DescribeRequest,
    ImportRequest,
    ModelRevision,
    is_of_artifacts,
    queue_of_registry,
    queue_of_storage,
    storage_of,
)
from core.jobs.requests.base import (
    CONFLICTS,
    KEEP_MAX_SECONDS,
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
    REPAIRABLE,
    AdoptRequest,
    PurgeRequest,
    RescanRequest,
    RestoreRequest,
    SnapshotRequest,
)
from core.jobs.requests.verbs import (
    FAST_PATHS_MAX,
    MATCH_MAX,
    PATHS_MAX,
    VERBS,
    CloneRequest,
    DeleteFilesRequest,
    DeleteRequest,
    ExtractRequest,
    FindRequest,
    UsageRequest,
    encode,
    parse,
)

__all__ = [
    "CONFLICTS",
    "FAST_PATHS_MAX",
    "KEEP_MAX_SECONDS",
    "MATCH_MAX",
    "MODELS_MAX",
    "PATHS_MAX",
    "REPAIRABLE",
    "RULES_MAX",
    "RULE_LENGTH_MAX",
    "VERBS",
    "AdoptRequest",
    "AssistRequest",
    "CloneRequest",
    "DeleteFilesRequest",
    "DeleteRequest",
    "DescribeRequest",
    "ExtractRequest",
    "FindRequest",
    "ImportRequest",
    "Lock",
    "LockMode",
    "ModelRevision",
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
    "is_of_artifacts",
    "lock_key",
    "parse",
    "queue_of_registry",
    "queue_of_storage",
    "scope_of",
    "storage_of",
]
