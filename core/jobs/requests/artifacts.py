"""The requests of artifacts: import models from a registry, and describe models of a hub.

Their nodes are those that have the storage or the registry in their configuration. Such a queue has
the name of a volume that no volume can have, because of its colon.
"""

from hashlib import sha256
from typing import Literal

import msgspec
from msgspec import Struct

from core.errors import InvalidParameters
from core.jobs.requests.base import Lock, Request, invalid_field, lock_key, scope_of
from core.names import VFolderId, VFolderPath, check_model_id, check_revision

#: Most models of one request.
MODELS_MAX = 10_000
_STORAGE, _REGISTRY = "artifact-storage:", "artifact-registry:"


def queue_of_storage(name: str) -> str:
    """Return the name of the queue of an artifact storage, in place of a volume's name."""
    return _STORAGE + name


def queue_of_registry(name: str) -> str:
    """Return the name of the queue of a registry, in place of a volume's name."""
    return _REGISTRY + name


def storage_of(volume: str) -> str | None:
    """Return the artifact storage whose queue has this name; None where it is a volume."""
    return volume.removeprefix(_STORAGE) if volume.startswith(_STORAGE) else None


def is_of_artifacts(volume: str) -> bool:
    """Return whether this is the name of such a queue, and of no volume."""
    return volume.startswith((_STORAGE, _REGISTRY))


class ModelRevision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One revision of a model."""

    model_id: str
    revision: str
    #: The id of the revision at the manager of another site.
    artifact_revision_id: str = ""

    @property
    def directory(self) -> str:
        """Return the directory that belongs to this revision in an artifact storage."""
        return f"{self.model_id}/{self.revision}"

    def validate(self) -> None:
        """Check that id and revision can be parts of a path."""
        check_model_id(self.model_id)
        check_revision(self.revision)
        VFolderPath.parse(self.directory)


class ImportRequest(Request, frozen=True, kw_only=True, tag="import"):
    """Import models from a registry into an artifact storage or into a vfolder.

    `volume` is that of the vfolder, or the queue of the storage.
    """

    registry: str
    registry_type: Literal["huggingface", "reservoir"]
    models: list[ModelRevision]
    vfolder: str | None = None
    #: Where the files go; None is the directory of each model's revision.
    prefix: str | None = None
    #: Whether the caller wants the event that the verification begins.
    verify: bool = False

    def locks(self) -> list[Lock]:
        """Return the vfolder, or the directories that the import replaces."""
        if self.vfolder is not None:
            return [(lock_key(self.volume, self.vfolder), "exclusive")]
        return [(f"{self.volume}/{place}", "exclusive") for place in sorted(set(self.places()))]

    def places(self) -> list[str]:
        """Return the directories that the files go to, `.` for the top."""
        if self.prefix is not None:
            return [str(VFolderPath.parse(self.prefix.lstrip("/")))]
        return [model.directory for model in self.models]

    def needs(self) -> list[str]:
        """Return the vfolder."""
        return [] if self.vfolder is None else [lock_key(self.volume, self.vfolder)]

    def title(self) -> str:
        """Return the registry and the first model."""
        more = f" and {len(self.models) - 1} more" if len(self.models) > 1 else ""
        return f"{self.registry}: {self.models[0].directory}{more}"

    def natural_key(self) -> str:
        """Return a digest of the request: the same one joins a live job, other ones wait."""
        return f"{self.volume}/{_digest(self)}"

    def scope(self) -> str:
        """Return the quota scope of the vfolder: its limit counts."""
        return "" if self.vfolder is None else scope_of(self.vfolder)

    def validate(self) -> None:
        """Check ids, revisions and the prefix."""
        if not 1 <= len(self.models) <= MODELS_MAX:
            raise invalid_field("models", f"name between 1 and {MODELS_MAX}")
        for model in self.models:
            model.validate()
        if self.prefix is not None:
            if not self.prefix or ".." in self.prefix.split("/"):
                raise invalid_field("storage_prefix", "is a path without '..'; '/' is the root")
            VFolderPath.parse(self.prefix.lstrip("/"))
        if self.vfolder is not None:
            VFolderId.parse(self.vfolder)
        elif storage_of(self.volume) is None:
            raise invalid_field("vfolder", "names the vfolder on the volume")


class DescribeRequest(Request, frozen=True, kw_only=True, tag="describe"):
    """Fetch readme and size of models from a hub, and publish them; doors submit it."""

    registry: str
    models: list[ModelRevision]

    def title(self) -> str:
        """Return the registry."""
        return f"{self.registry}: readme and size of {len(self.models)} revisions"

    def natural_key(self) -> str:
        """Return a digest of the request: the same one joins a live job."""
        return f"{self.volume}/{_digest(self)}"

    def validate(self) -> None:
        """Check the ids."""
        if not 1 <= len(self.models) <= MODELS_MAX:
            raise invalid_field("models", f"name between 1 and {MODELS_MAX}")
        for model in self.models:
            model.validate()


def _digest(request: Request) -> str:
    try:
        return sha256(msgspec.json.encode(request, order="sorted")).hexdigest()
    except UnicodeEncodeError:
        raise InvalidParameters("A name is not text.") from None
