"""Storages of artifacts: directories and buckets that keep models. Knows no HTTP and no job."""

from backends.volumes.artifacts.objects import ObjectsNotDeleted, ObjectStorage
from backends.volumes.artifacts.registries import ArtifactRegistries
from backends.volumes.artifacts.storages import ArtifactStorages
from backends.volumes.artifacts.vfs import (
    OCTET_STREAM,
    FileTooLarge,
    StorageUpload,
    StoredFile,
    VfsStorage,
)

__all__ = [
    "OCTET_STREAM",
    "ArtifactRegistries",
    "ArtifactStorages",
    "FileTooLarge",
    "ObjectStorage",
    "ObjectsNotDeleted",
    "StorageUpload",
    "StoredFile",
    "VfsStorage",
]
