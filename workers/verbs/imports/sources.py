"""Where an import reads from: a hub, or the manager of another site."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from backends.fs import translated
from backends.systems.registries import Hub, HubFile, RemoteFile, Reservoir, VerificationResult
from core.errors import InvalidName, ModelNotFound, PathEscape, RegistryRefused, StorageError
from core.jobs.requests import ModelRevision
from core.names import VFolderPath
from core.telemetry import logger

#: Bytes of one read while a digest is computed.
READ_BYTES = 1 << 20
_log = logger(__name__)
Reader = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A file of a model: where it goes, its size, and how its content is checked."""

    path: VFolderPath
    #: The name of the file at the registry.
    name: str
    size: int
    sha256: str | None = None
    blob: str | None = None

    @property
    def digest(self) -> str:
        """Return the digest that the registry says; empty where it says none."""
        return self.sha256 or self.blob or ""

    def begin_digest(self) -> "hashlib._Hash | None":
        """Return the beginning of the digest; None where the registry says none."""
        if self.sha256:
            return hashlib.sha256()
        if self.blob:  # git-hash-object(1): the id of a blob is of its header and its content
            return hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        return None

    def matches(self, read: Reader) -> bool:
        """Return whether a complete file has the digest; `read` gets offset and size."""
        digest = self.begin_digest()
        if digest is None:
            return True
        offset = 0
        with translated(self.name):
            while piece := read(offset, READ_BYTES):
                digest.update(piece)
                offset += len(piece)
        return digest.hexdigest() == self.digest


class ModelSource(Protocol):
    """A registry, as an import reads it."""

    def commit(self, model: ModelRevision) -> str | None:
        """Return what the revision is now, so that all files are of one moment; None if unknown."""

    def files(self, model: ModelRevision, commit: str | None) -> list[ImportFile]:
        """Return every file.

        Raises:
            StorageError: the registry says no list, or one with paths that cannot be.
        """

    def open(
        self, model: ModelRevision, commit: str | None, file: ImportFile, start: int
    ) -> RemoteFile:
        """Open a file at a position."""

    def verification(self, model: ModelRevision) -> VerificationResult | None:
        """Return what verifiers of the registry found; None when there are none."""


class HubSource:
    """A hub: a revision is pinned by its commit, and each file has a digest."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def commit(self, model: ModelRevision) -> str | None:
        """Return the commit of the revision."""
        return self._hub.commit(model.model_id, model.revision)

    def files(self, model: ModelRevision, commit: str | None) -> list[ImportFile]:
        """Return every file of the commit."""
        return [_hub_file(one) for one in self._hub.files(model.model_id, commit or model.revision)]

    def open(
        self, model: ModelRevision, commit: str | None, file: ImportFile, start: int
    ) -> RemoteFile:
        """Open a file of the commit."""
        return self._hub.open(model.model_id, commit or model.revision, file.name, start)

    def verification(self, model: ModelRevision) -> VerificationResult | None:  # noqa: ARG002 - the protocol's
        """Return no verifiers: the digests are checked here."""
        return None


class ReservoirSource:
    """The VFS storage of another site; its files have no digests."""

    def __init__(self, reservoir: Reservoir) -> None:
        self._reservoir = reservoir

    def commit(self, model: ModelRevision) -> str | None:  # noqa: ARG002 - the protocol's
        """Return None: a manager says no commit."""
        return None

    def files(self, model: ModelRevision, commit: str | None) -> list[ImportFile]:  # noqa: ARG002 - see above
        """Return every file below the directory of the revision."""
        top = f"{model.directory}/"
        found = []
        for path, size in self._reservoir.files(model.directory):
            below = path.lstrip("/").removeprefix(top)
            found.append(ImportFile(checked_path(below), path, size))
        if not found:
            raise ModelNotFound("The other site has no file of this revision.")
        return found

    def open(
        self,
        model: ModelRevision,  # noqa: ARG002 - the protocol's
        commit: str | None,  # noqa: ARG002 - see above
        file: ImportFile,
        start: int,
    ) -> RemoteFile:
        """Open a file of the other site."""
        return self._reservoir.open(file.name, start)

    def verification(self, model: ModelRevision) -> VerificationResult | None:
        """Return what the other site found; a failure of this call is only logged."""
        try:
            return self._reservoir.verification(model.artifact_revision_id)
        except StorageError as error:
            _log.warning("verification not read", reason=error.detail)
            return None


def _hub_file(file: HubFile) -> ImportFile:
    return ImportFile(checked_path(file.path), file.path, file.size, file.sha256, file.blob)


def checked_path(name: str) -> VFolderPath:
    """Return the path of a file below the directory of its model."""
    try:
        path = VFolderPath.parse(name)
    except (InvalidName, PathEscape) as error:
        raise RegistryRefused("The registry names a file that has no valid path.") from error
    if path.is_root or ".." in name.split("/"):
        raise RegistryRefused("The registry names a file that has no valid path.")
    return path
