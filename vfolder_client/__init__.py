"""The Python client of vfolder, for people and their programs.

    from vfolder_client import Client

    with Client.from_context() as client:
        folder = client.vfolder("corpus")
        folder.upload("train", "data/train")
        print(folder.read("data/train/README.md").decode())

It needs requests, and nothing of the service: it is a distribution of its own. See docs/client.md.
"""

from vfolder_client import errors
from vfolder_client.client import Client, Keys, is_reference
from vfolder_client.connection import VERSION as __version__  # noqa: N811 - the name that tools look for
from vfolder_client.connection import Connection
from vfolder_client.content import (
    SyncAction,
    SyncOptions,
    SyncResult,
    TransferProgress,
    TransferResult,
)
from vfolder_client.contexts import (
    Context,
    Contexts,
    check_key,
    check_url,
    contexts_path,
    current_context,
    read_key,
)
from vfolder_client.documents import (
    ApiKey,
    DirectoryResult,
    Entry,
    Grant,
    KnownSubject,
    Notice,
    Quota,
    Ticket,
    VFolderInfo,
)
from vfolder_client.folders import VFolder
from vfolder_client.jobs import Job, Jobs
from vfolder_client.parts import FoundEntry, Link, RemovedEntries, Snapshot

__all__ = [
    "ApiKey",
    "Client",
    "Connection",
    "Context",
    "Contexts",
    "DirectoryResult",
    "Entry",
    "FoundEntry",
    "Grant",
    "Job",
    "Jobs",
    "Keys",
    "KnownSubject",
    "Link",
    "Notice",
    "Quota",
    "RemovedEntries",
    "Snapshot",
    "SyncAction",
    "SyncOptions",
    "SyncResult",
    "Ticket",
    "TransferProgress",
    "TransferResult",
    "VFolder",
    "VFolderInfo",
    "__version__",
    "check_key",
    "check_url",
    "contexts_path",
    "current_context",
    "errors",
    "is_reference",
    "read_key",
]
