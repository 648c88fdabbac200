"""The tables of artifacts: storages that keep models, and registries that models come from.

They are the reference's `[artifact-storages.NAME]`, `[artifact-registries.NAME]` and
`[reservoir-client]`; `[artifact-verifiers.NAME]` is our own. The reference's older arrays
`[[storages]]` and `[[registries]]` are read as these tables.
"""

from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

from core.settings.units import size_bytes

#: The smallest part of an S3 multipart upload, except the last one (bytes).
PART_MIN_BYTES = 5 * 1024 * 1024
#: The smallest and the default piece of a VFS storage (bytes).
VFS_CHUNK_MIN_BYTES = 1024
VFS_CHUNK_BYTES = 65_536
#: The default piece of a download from a server (bytes).
CHUNK_BYTES = 8192
#: How long a presigned URL is valid (seconds).
EXPIRATION_SECONDS = 300
#: A presigned URL of signature version 4 is valid for a week at most (seconds).
EXPIRATION_MAX_SECONDS = 604_800
HUGGINGFACE = "https://huggingface.co"
#: The default and the largest number of connections of one process to a registry.
CONNECTIONS, CONNECTIONS_MAX = 16, 256
#: The longest name of a storage or a registry (characters).
NAME_MAX = 63
Size = int | str
Tables = dict[str, Any]


class ArtifactTable(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True, kw_only=True):
    """Base of these tables: unknown keys are refused."""


class PresignedUploadTable(ArtifactTable, frozen=True):
    """`presigned-upload`: what a form may upload (bytes), and for how long (seconds)."""

    min_size: Size | None = None
    max_size: Size | None = None
    expiration: int = EXPIRATION_SECONDS


class PresignedDownloadTable(ArtifactTable, frozen=True):
    """`presigned-download`: how long the URL is valid (seconds)."""

    expiration: int = EXPIRATION_SECONDS


class ObjectStorageTable(ArtifactTable, frozen=True):
    """`[artifact-storages.NAME.object-storage]`: buckets of one S3 endpoint."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    #: The buckets that are served; imports go to the first.
    buckets: list[str]
    upload_chunk_size: Size = PART_MIN_BYTES
    download_chunk_size: Size = CHUNK_BYTES
    reservoir_download_chunk_size: Size = CHUNK_BYTES
    presigned_upload: PresignedUploadTable = field(default_factory=PresignedUploadTable)
    presigned_download: PresignedDownloadTable = field(default_factory=PresignedDownloadTable)

    def check(self) -> None:
        """Raise ValueError when a value cannot be used."""
        _check_url("endpoint", self.endpoint)
        if not self.buckets or not all(self.buckets):
            raise ValueError("buckets names no bucket")
        if size_bytes(self.upload_chunk_size) < PART_MIN_BYTES:
            raise ValueError(f"upload-chunk-size is at least {PART_MIN_BYTES}, as S3 wants")
        for presigned in (self.presigned_upload, self.presigned_download):
            if not 1 <= presigned.expiration <= EXPIRATION_MAX_SECONDS:
                raise ValueError(f"expiration is between 1 and {EXPIRATION_MAX_SECONDS} seconds")
        for size in (self.presigned_upload.min_size, self.presigned_upload.max_size):
            size_bytes(size or 0)


class VfsStorageTable(ArtifactTable, frozen=True):
    """`[artifact-storages.NAME.vfs-storage]`: a directory of this node."""

    base_path: str
    subpath: str | None = None
    #: Whether the first process of a start removes its content.
    temporary: bool = False
    upload_chunk_size: Size = VFS_CHUNK_BYTES
    download_chunk_size: Size = VFS_CHUNK_BYTES
    #: The largest file that an upload or an import may write (bytes); None is no limit.
    max_file_size: Size | None = None

    @property
    def max_file_bytes(self) -> int | None:
        """Return the size of the largest file; None without a limit."""
        return None if self.max_file_size is None else size_bytes(self.max_file_size)

    def check(self) -> None:
        """Raise ValueError when a value cannot be used."""
        if not self.base_path:
            raise ValueError("base-path is empty")
        if self.subpath and ".." in self.subpath.split("/"):
            raise ValueError("subpath leaves the base-path")
        for size in (self.upload_chunk_size, self.download_chunk_size):
            if size_bytes(size) < VFS_CHUNK_MIN_BYTES:
                raise ValueError(f"a chunk has at least {VFS_CHUNK_MIN_BYTES} bytes")
        _ = self.max_file_bytes


class ArtifactStorageTable(ArtifactTable, frozen=True):
    """`[artifact-storages.NAME]`: one storage, of the kind that `type` says."""

    type: Literal["object_storage", "vfs_storage"]
    object_storage: ObjectStorageTable | None = None
    vfs_storage: VfsStorageTable | None = None

    def check(self) -> None:
        """Raise ValueError when its own table is missing, or has a wrong value."""
        _check_kind(self, self.type)


class RegistryLimits(ArtifactTable, frozen=True):
    """What the tables of registries share: how much of a registry one node takes."""

    #: Connections of one process to one host of the registry.
    connections: int = CONNECTIONS
    #: The largest model that is imported (bytes); None is no limit.
    max_model_size: Size | None = None

    @property
    def max_model_bytes(self) -> int | None:
        """Return the size of the largest model; None without a limit."""
        return None if self.max_model_size is None else size_bytes(self.max_model_size)

    def check(self) -> None:
        """Raise ValueError when a value cannot be used."""
        if not 1 <= self.connections <= CONNECTIONS_MAX:
            raise ValueError(f"connections is between 1 and {CONNECTIONS_MAX}")
        _ = self.max_model_bytes


class HuggingFaceTable(RegistryLimits, frozen=True):
    """`[artifact-registries.NAME.huggingface]`: a hub of models."""

    endpoint: str = HUGGINGFACE
    token: str | None = None
    #: Other servers with the same models, which are asked while the endpoint fails.
    mirrors: list[str] = field(default_factory=list)
    download_chunk_size: Size = CHUNK_BYTES

    def check(self) -> None:
        """Raise ValueError when a value cannot be used."""
        super().check()
        _check_url("endpoint", self.endpoint)
        for url in self.mirrors:
            _check_url("mirrors", url)
        size_bytes(self.download_chunk_size)


class ReservoirTable(RegistryLimits, frozen=True):
    """`[artifact-registries.NAME.reservoir]`: another site, with its manager and its S3."""

    #: The S3 of the other site, for imports into object storages.
    endpoint: str | None = None
    object_storage_access_key: str | None = None
    object_storage_secret_key: str | None = None
    object_storage_region: str | None = None
    #: The manager of the other site, for all other imports.
    manager_endpoint: str | None = None
    manager_access_key: str | None = None
    manager_secret_key: str | None = None
    manager_api_version: str | None = None
    #: The name of the VFS storage at that manager.
    storage_name: str | None = None

    def check(self) -> None:
        """Raise ValueError when a value cannot be used."""
        super().check()
        for name, url in (
            ("endpoint", self.endpoint),
            ("manager-endpoint", self.manager_endpoint),
        ):
            if url is not None:
                _check_url(name, url)


class ArtifactRegistryTable(ArtifactTable, frozen=True):
    """`[artifact-registries.NAME]`: one registry, of the kind that `type` says."""

    type: Literal["huggingface", "reservoir"]
    huggingface: HuggingFaceTable | None = None
    reservoir: ReservoirTable | None = None

    @property
    def limits(self) -> RegistryLimits:
        """Return the table of its type, for what all kinds share."""
        own: RegistryLimits | None = getattr(self, self.type)
        return own or RegistryLimits()

    def check(self) -> None:
        """Raise ValueError when its own table is missing, or has a wrong value."""
        _check_kind(self, self.type)


class ArtifactVerifierTable(ArtifactTable, frozen=True):
    """`[artifact-verifiers.NAME]`: a plugin that looks at models before they are published."""

    #: The name of its entry point.
    plugin: str
    #: What its class is called with.
    options: Tables = field(default_factory=dict)

    def check(self) -> None:
        """Raise ValueError when a value cannot be used."""
        if not self.plugin:
            raise ValueError("plugin names no plugin")


class ReservoirClientTable(ArtifactTable, frozen=True):
    """`[reservoir-client]`: patience with the managers of other sites (seconds)."""

    timeout_total: float = 300.0
    timeout_connect: float | None = None
    timeout_sock_connect: float = 30.0
    timeout_sock_read: float | None = None

    @property
    def connect_seconds(self) -> float:
        """Return how long a connection may take."""
        limits = (self.timeout_connect, self.timeout_sock_connect, self.timeout_total)
        return min(limit for limit in limits if limit is not None)

    @property
    def silence_seconds(self) -> float:
        """Return how long a server may send nothing."""
        limits = (self.timeout_sock_read, self.timeout_total)
        return min(limit for limit in limits if limit is not None)


def fold_old_arrays(tables: Tables) -> None:
    """Move `[[storages]]` and `[[registries]]` into the tables by name.

    Raises:
        ValueError: an entry has no name, or a name occurs twice.
    """
    for entry in _entries(tables, "storages"):
        name = _new_name(entry, "storages", tables, "artifact-storages")
        tables["artifact-storages"][name] = {"type": "object_storage", "object-storage": entry}
    for entry in _entries(tables, "registries"):
        name = _new_name(entry, "registries", tables, "artifact-registries")
        config = dict(entry.get("config") or {})
        kind = config.pop("type", None)
        tables["artifact-registries"][name] = {"type": kind, str(kind): config}


def _entries(tables: Tables, key: str) -> list[Tables]:
    entries = tables.pop(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"[[{key}]] is a list of tables")
    return [dict(entry) for entry in entries]


def _new_name(entry: Tables, key: str, tables: Tables, table: str) -> str:
    name = entry.pop("name", None)
    if not name or not isinstance(name, str):
        raise ValueError(f"[[{key}]] has an entry without a name")
    if name in tables.setdefault(table, {}):
        raise ValueError(f"[[{key}]] and [{table}] have the same name {name!r}")
    return name


def check_tables(
    kind: str,
    tables: dict[str, ArtifactStorageTable | ArtifactRegistryTable | ArtifactVerifierTable],
) -> None:
    """Raise ValueError, which names the table, when a name or a value cannot be used."""
    for name, table in tables.items():
        if not name or len(name) > NAME_MAX or {"/", ","} & {*name} or not name.isprintable():
            text = f"a name is up to {NAME_MAX} characters, without '/' and ','"
            raise ValueError(f"[{kind}.{name}]: {text}")
        try:
            table.check()
        except ValueError as error:
            raise ValueError(f"[{kind}.{name}]: {error}") from None


def _check_kind(table: Struct, kind: str) -> None:
    own = getattr(table, kind)
    if own is None:
        raise ValueError(f"type {kind} needs the table {kind.replace('_', '-')}")
    own.check()


def _check_url(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name} {url!r} is not a URL; write https://host")
