"""All configuration, typed; only this package reads the environment. Knows no job, no storage."""

from core.settings.access import (
    TICKET_AUDIENCE,
    AccessTable,
    CalloutTable,
    IssuerTable,
    check_url,
)
from core.settings.artifacts import (
    CONNECTIONS,
    ArtifactRegistryTable,
    ArtifactStorageTable,
    ArtifactVerifierTable,
    HuggingFaceTable,
    ObjectStorageTable,
    ReservoirClientTable,
    ReservoirTable,
    VfsStorageTable,
)
from core.settings.etcd import Etcd
from core.settings.migration import KEYS, KeyReading, Reading, keys_of
from core.settings.own import RedisTarget
from core.settings.reference import StorageProxyTable, VolumeTable
from core.settings.report import effective, masked, reload, sources, value_of
from core.settings.settings import (
    CONFIG_NAME,
    CONFIG_VARIABLE,
    OVERRIDE_PREFIX,
    Settings,
    find,
    load,
)
from core.settings.units import Address, address, size_bytes

__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "CONNECTIONS",
    "KEYS",
    "OVERRIDE_PREFIX",
    "TICKET_AUDIENCE",
    "AccessTable",
    "Address",
    "ArtifactRegistryTable",
    "ArtifactStorageTable",
    "ArtifactVerifierTable",
    "CalloutTable",
    "Etcd",
    "HuggingFaceTable",
    "IssuerTable",
    "KeyReading",
    "ObjectStorageTable",
    "Reading",
    "RedisTarget",
    "ReservoirClientTable",
    "ReservoirTable",
    "Settings",
    "StorageProxyTable",
    "VfsStorageTable",
    "VolumeTable",
    "address",
    "check_url",
    "effective",
    "find",
    "keys_of",
    "load",
    "masked",
    "reload",
    "size_bytes",
    "sources",
    "value_of",
]
