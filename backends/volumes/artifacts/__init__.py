"""Storages of artifacts: directories and buckets that keep models. Knows no HTTP and no job."""

from backends.volumes.artifacts.objects import ObjectsNotDeleted, ObjectStorage
from backends.volumes.artifacts.registries import ArtifactRegistries, ModelTooLarge
from backends.volumes.artifacts.storages import ArtifactStorages
from backends.volumes.artifacts.verifiers import (
    ArtifactVerifiers,
    ModelFile,
    ModelRefused,
    Verdict,
    Verifier,
    VerifierFailed,
    made_verifier,
)
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
    "ArtifactVerifiers",
    "FileTooLarge",
    "ModelFile",
    "ModelRefused",
    "ModelTooLarge",
    "ObjectStorage",
    "ObjectsNotDeleted",
    "StorageUpload",
    "StoredFile",
    "Verdict",
    "Verifier",
    "VerifierFailed",
    "VfsStorage",
    "made_verifier",
]
