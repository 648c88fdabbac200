"""Registries of models: search, one model, imports."""

from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import ArtifactBody
from backends.systems.registries import DEFAULT_REVISION, ORDERS
from core.errors import InvalidName
from core.jobs.requests import MODELS_MAX, ModelRevision
from core.names import VFolderId, check_model_id, check_revision

#: Most models of one search.
LIMIT_MAX = 10_000
#: What an import does, in this order; a caller names those that it wants.
STEPS = ("download", "verify", "archive")


def _model_id(text: str) -> None:
    try:
        check_model_id(text)
    except InvalidName as error:
        raise ma.ValidationError(error.detail) from None


def _revision(text: str) -> None:
    try:
        check_revision(text)
    except InvalidName as error:
        raise ma.ValidationError(error.detail) from None


def _unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ma.ValidationError("It has a character that is no text.") from None


def _vfolder(text: str) -> None:
    try:
        VFolderId.parse(text)
    except InvalidName as error:
        raise ma.ValidationError(error.detail) from None


def _registry() -> fields.String:
    return fields.String(
        required=True, metadata={"description": "Name of a registry.", "example": "huggingface"}
    )


class _Tolerant(ma.Schema):
    class Meta:
        """The manager sends more keys."""

        unknown = ma.EXCLUDE


class ModelTarget(_Tolerant):
    """One revision of a model."""

    model_id = fields.String(required=True, validate=_model_id, metadata={"example": "org/model"})
    revision = fields.String(
        load_default=None,
        allow_none=True,
        validate=_revision,
        metadata={"description": "Branch, tag or commit; `main` when absent."},
    )


@dataclass(frozen=True, slots=True)
class ScanOrder:
    """A search in a hub."""

    registry_name: str
    limit: int
    order: str
    search: str | None


class ScanBody(ArtifactBody):
    """A search in a hub."""

    makes = ScanOrder
    registry_name = _registry()
    limit = fields.Integer(required=True, strict=True, validate=validate.Range(1, LIMIT_MAX))
    order = fields.String(required=True, validate=validate.OneOf(list(ORDERS)))
    search = fields.String(load_default=None, allow_none=True, validate=_unicode)


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """Revisions of models that are to be described."""

    registry_name: str
    models: list[dict[str, Any]]


class BatchBody(ArtifactBody):
    """Revisions of models that are to be described."""

    makes = BatchOrder
    registry_name = _registry()
    models = fields.List(
        fields.Nested(ModelTarget), required=True, validate=validate.Length(max=MODELS_MAX)
    )


class StepTarget(_Tolerant):
    """Where a step works: an artifact storage, or a vfolder of a volume."""

    storage_name = fields.String(load_default=None, allow_none=True)
    vfolder_id = fields.String(load_default=None, allow_none=True, validate=_vfolder)
    volume_name = fields.String(load_default=None, allow_none=True)

    @ma.validates_schema
    def _one_of_both(self, data: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow's hook
        in_vfolder = bool(data.get("vfolder_id")) and bool(data.get("volume_name"))
        if bool(data.get("storage_name")) == in_vfolder:
            text = "Name an artifact storage, or a vfolder and its volume."
            raise ma.ValidationError(text, "storage_name")


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """An import of models."""

    registry_name: str
    models: list[dict[str, Any]]
    storage_step_mappings: dict[str, str] | None
    storage_step_target_mappings: dict[str, dict[str, str | None]] | None
    storage_prefix: str | None
    artifact_revision_ids: list[str] | None = None

    def targets(self) -> dict[str, dict[str, str | None]]:
        """Return the target of each step, in the order of the steps; the newer form wins."""
        targets: dict[str, dict[str, str | None]] = {
            step: {"storage_name": name}
            for step, name in (self.storage_step_mappings or {}).items()
        }
        targets |= self.storage_step_target_mappings or {}
        return {step: targets[step] for step in STEPS if step in targets}

    def revisions(self) -> list[ModelRevision]:
        """Return the revisions; a model without one is taken from the branch `main`."""
        ids = self.artifact_revision_ids or [""] * len(self.models)
        return [
            ModelRevision(
                model_id=model["model_id"],
                revision=model["revision"] or DEFAULT_REVISION,
                artifact_revision_id=revision_id,
            )
            for model, revision_id in zip(self.models, ids, strict=True)
        ]


_STEP = fields.String(validate=validate.OneOf(STEPS))


class ImportBody(ArtifactBody):
    """An import of models; the files end in the target of the last step."""

    makes = ImportOrder
    registry_name = _registry()
    models = fields.List(
        fields.Nested(ModelTarget), required=True, validate=validate.Length(1, MODELS_MAX)
    )
    storage_step_mappings = fields.Dict(
        keys=_STEP,
        values=fields.String(validate=validate.Length(min=1)),
        load_default=None,
        allow_none=True,
        metadata={"description": "The storage of each step: the older form."},
    )
    storage_step_target_mappings = fields.Dict(
        keys=_STEP,
        values=fields.Nested(StepTarget),
        load_default=None,
        allow_none=True,
        metadata={"description": "The target of each step; it wins over the older form."},
    )
    storage_prefix = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1),
        metadata={"description": "Where the files go; `<model>/<revision>` when absent."},
    )

    @ma.validates_schema
    def _some_step(self, data: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow's hook
        named = data.get("storage_step_mappings") or data.get("storage_step_target_mappings")
        if not named:
            text = "Name the storage or the vfolder of at least one step."
            raise ma.ValidationError(text, "storage_step_target_mappings")


class ReservoirImportBody(ImportBody):
    """An import from another site: each model has a revision, and its id at that site's manager."""

    artifact_revision_ids = fields.List(fields.UUID(), required=True)

    @ma.validates_schema
    def _one_id_each(self, data: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow's hook
        if len(data["artifact_revision_ids"]) != len(data["models"]):
            raise ma.ValidationError("Name one id for each model.", "artifact_revision_ids")
        if any(model["revision"] is None for model in data["models"]):
            raise ma.ValidationError("Each model needs a revision.", "models")

    @ma.post_load
    def _as_text(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: ANN401 - marshmallow's hook
        ids = [str(one) for one in data["artifact_revision_ids"]]
        return {**data, "artifact_revision_ids": ids}


class ModelExtra(ma.Schema):
    """Facts of a hub alone."""

    gated = fields.Raw(metadata={"type": ["boolean", "string"]})


class Model(ma.Schema):
    """One revision of a model."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    author = fields.String(required=True, allow_none=True)
    revision = fields.String(required=True)
    tags = fields.List(fields.String(), required=True)
    created_at = fields.String(required=True, allow_none=True)
    modified_at = fields.String(required=True, allow_none=True)
    readme = fields.String(required=True, allow_none=True)
    size = fields.Integer(required=True, allow_none=True)
    sha = fields.String(required=True, allow_none=True)
    extra = fields.Nested(ModelExtra, required=True, allow_none=True)


class ModelList(ma.Schema):
    """Revisions of models."""

    models = fields.List(fields.Nested(Model), required=True)


class OneModel(ma.Schema):
    """One revision of a model, with readme and size."""

    model = fields.Nested(Model, required=True)


class CommitHash(ma.Schema):
    """The commit of a revision; null when the hub does not say it."""

    commit_hash = fields.String(required=True, allow_none=True)


class ImportTask(ma.Schema):
    """The import as a job; `GET /v1/jobs/TASK_ID` says how far it is."""

    task_id = fields.UUID(required=True)
