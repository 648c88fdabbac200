"""What each verb of `POST /v1/jobs` takes, beside what every job takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.fields import (
    INTEGER_MAX,
    PathField,
    ScopeField,
    VFolderField,
    VolumeName,
    encodable,
)
from backends.retention import NAME_MAX, check_name
from backends.tree import parse_rule
from core.errors import InvalidName, InvalidParameters
from core.jobs import PRIORITY_DEFAULT, PRIORITY_FIRST, PRIORITY_LAST, requests
from core.jobs.requests import REPAIRABLE, RULE_LENGTH_MAX, RULES_MAX
from core.names import QuotaScope, VFolderId, VFolderPath

#: Longest label (characters).
LABEL_MAX = 200
#: The longest deadline of a job: a year (seconds).
DEADLINE_MAX_SECONDS = 365 * 86_400
_JOB_ID = validate.Regexp(r"^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$")


def _rule(rule: str) -> None:
    try:
        parse_rule(rule)
    except InvalidParameters as error:
        raise ma.ValidationError(error.detail) from None


def _snapshot_name(text: str) -> None:
    try:
        check_name(text)
    except InvalidName as error:
        raise ma.ValidationError(error.detail) from None


def _choice(default: str, words: list[str], description: str) -> fields.String:
    return fields.String(
        load_default=default,
        validate=validate.OneOf(words),
        metadata={"description": description},
    )


def _size(description: str) -> fields.Integer:
    return fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, INTEGER_MAX),
        metadata={"description": description},
    )


def _moment(description: str) -> fields.String:
    return fields.String(load_default=None, allow_none=True, metadata={"description": description})


def _flag(description: str) -> fields.Boolean:
    return fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={"description": description},
    )


_STRICT = (
    "A change of the source while the job runs is a failure. Else the copy has what it met, and "
    "the result counts the changes and names them."
)


def _target_volume() -> fields.String:
    return fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "Volume of the target; the same volume when absent."},
    )


_LABEL = validate.And(validate.Length(max=LABEL_MAX), encodable)


class JobBody(ma.Schema):
    """What every verb takes."""

    verb = fields.String(required=True, metadata={"description": "What the job does."})
    volume = VolumeName()
    plan = _flag("Only answer how the job would run, and every refusal. Nothing is done.")
    label = fields.String(load_default="", validate=_LABEL)
    priority = fields.Integer(
        strict=True,
        load_default=PRIORITY_DEFAULT,
        validate=validate.Range(PRIORITY_FIRST, PRIORITY_LAST),
        metadata={"description": "0 goes first, 9 last, within a lane."},
    )
    deadline_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, DEADLINE_MAX_SECONDS, min_inclusive=False),
        metadata={"description": "The job is given up when it has not ended after this time."},
    )


class CloneBody(JobBody):
    """Make `target` a copy of `source`; the target must not exist."""

    source = VFolderField("source")
    target = VFolderField("target")
    target_volume = _target_volume()
    verify = fields.String(
        load_default="size", validate=validate.OneOf(["none", "size", "checksum"])
    )
    strict = _flag(_STRICT)


class DeleteBody(JobBody):
    """Delete a vfolder: it disappears at once, its bytes are removed afterwards."""

    vfolder = VFolderField("vfolder")
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, requests.KEEP_MAX_SECONDS),
        metadata={
            "description": "How long the vfolder can be restored. When absent, as configured; "
            "0 means not at all.",
        },
    )


class DeleteFilesBody(JobBody):
    """Remove entries of a vfolder; absent ones are skipped."""

    vfolder = VFolderField("vfolder")
    paths = fields.List(
        PathField(key=None),
        required=True,
        validate=validate.Length(1, requests.PATHS_MAX),
        metadata={"description": "Paths relative to the vfolder."},
    )
    recursive = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, requests.KEEP_MAX_SECONDS),
        metadata={
            "description": "How long they can be restored. When absent, or 0, not at all.",
        },
    )


class ExtractBody(JobBody):
    """Unpack an archive that is in a vfolder; its directory appears complete or not at all."""

    vfolder = VFolderField("vfolder")
    source = PathField("source")
    target = PathField("target")
    archive = fields.String(required=True, validate=validate.OneOf(["tar", "zip"]))


class FindBody(JobBody):
    """Look for entries of a vfolder; the report of the job names all of them."""

    vfolder = VFolderField("vfolder")
    path = PathField("path", load_default=lambda: VFolderPath(()))
    match = fields.String(
        load_default="",
        validate=validate.Length(max=requests.MATCH_MAX),
        metadata={"description": "A pattern of names as a shell has it; with `/` one of paths."},
    )
    kind = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.OneOf(["file", "directory", "symlink"]),
    )
    min_bytes = _size("Leave out smaller files, and all that is no file.")
    max_bytes = _size("Leave out bigger files, and all that is no file.")
    newer_than = _moment("Leave out what was modified before this moment (RFC 3339).")
    older_than = _moment("Leave out what was modified after this moment (RFC 3339).")


class UsageBody(JobBody):
    """Count what a vfolder holds."""

    vfolder = VFolderField("vfolder")


class TransferTerms(ma.Schema):
    """What of the source comes to which place, and what becomes of entries that are there."""

    source_path = PathField("source_path", load_default=lambda: VFolderPath(()))
    target_path = PathField("target_path", load_default=lambda: VFolderPath(()))
    filters = fields.List(
        fields.String(validate=validate.And(validate.Length(1, RULE_LENGTH_MAX), _rule)),
        load_default=list,
        validate=validate.Length(max=RULES_MAX),
        metadata={
            "description": "`+ PATTERN` includes, `- PATTERN` leaves out; the first match decides."
        },
    )
    min_bytes = _size("Leave out smaller files.")
    max_bytes = _size("Leave out bigger files.")
    newer_than = _moment("Leave out what was modified before this moment (RFC 3339).")
    older_than = _moment("Leave out what was modified after this moment (RFC 3339).")
    on_conflict = _choice(
        "fail",
        ["fail", "skip", "replace", "newer"],
        "What happens when an entry of the target differs: the transfer fails, the entry stays, "
        "it is replaced, or it is replaced when it is older.",
    )
    on_error = _choice(
        "stop",
        ["stop", "skip"],
        "What happens when an entry cannot be copied: the job fails and the target stays as it "
        "was, or the job goes on and ends as `partial`.",
    )
    verify = _choice(
        "size", ["none", "size", "checksum"], "What is compared before the result is published."
    )
    delete_extra = _flag(
        "Remove what the target has and the source has not (except what a filter leaves out). "
        "Refused when the source could not be read completely."
    )
    bytes_per_second = fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, INTEGER_MAX),
        metadata={
            "description": "The highest speed of the job; `PUT /v1/jobs/ID/bandwidth` changes it."
        },
    )
    strict = _flag(_STRICT)
    remove_source = _flag(
        "Move: remove from the source what arrived and did not change meanwhile. It is compared "
        "before, so `verify` is not `none`."
    )
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, requests.KEEP_MAX_SECONDS),
        metadata={"description": "With `remove_source`: how long what is removed can be restored."},
    )


class TransferBody(TransferTerms, JobBody):
    """Copy a vfolder, or a path in it, into another vfolder, on any volume."""

    source = VFolderField("source")
    target = VFolderField("target")
    target_volume = _target_volume()


_ENTRIES = "It is about entries of the vfolder that a `delete-files` keeps."


class RestoreBody(JobBody):
    """Restore a deleted vfolder, or removed entries, from the trash."""

    vfolder = VFolderField("vfolder")
    trash = fields.String(
        load_default=None,
        allow_none=True,
        validate=_JOB_ID,
        metadata={"description": "The job that deleted it; the last one when absent."},
    )
    entries = _flag(_ENTRIES)


class PurgeBody(JobBody):
    """Remove the bytes of a deleted vfolder, or of removed entries, for good."""

    vfolder = VFolderField("vfolder")
    trash = fields.String(
        required=True,
        validate=_JOB_ID,
        metadata={"description": "The job that deleted it."},
    )
    entries = _flag(_ENTRIES)


class RepairKinds(fields.List[str]):
    """The kinds of deviations that a rescan repairs."""

    def __init__(self) -> None:
        super().__init__(
            fields.String(validate=validate.OneOf(REPAIRABLE)),
            load_default=list,
            validate=validate.Length(max=len(REPAIRABLE)),
            metadata={"description": "With `repair`: only these; all by default."},
        )


class RescanBody(JobBody):
    """Count what the quota scopes of a volume really hold, and report what is odd."""

    owner = ScopeField("owner", optional=True)
    repair = _flag("Repair what can be repaired; otherwise only report it.")
    kinds = RepairKinds()


class AdoptBody(JobBody):
    """Put everything in a quota scope under a limit, also what other software created."""

    owner = ScopeField("owner")
    limit_bytes = fields.Integer(
        required=True,
        strict=True,
        validate=validate.Range(1, 2**63 - 1),
        metadata={"description": "The limit, in bytes."},
    )


class SnapshotBody(JobBody):
    """Create, list or delete a snapshot of a vfolder, or restore one as a new vfolder."""

    vfolder = VFolderField("vfolder")
    action = fields.String(
        required=True, validate=validate.OneOf(["create", "list", "delete", "restore"])
    )
    name = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.And(validate.Length(1, NAME_MAX), _snapshot_name),
        metadata={"description": "The snapshot, for every action but `list`."},
    )
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, requests.KEEP_MAX_SECONDS, min_inclusive=False),
        metadata={
            "description": "For `create`: how long to keep it. When absent, until it is deleted. "
            "With `over`: how long to keep what was there; seven days when absent."
        },
    )
    target = VFolderField("target", optional=True)
    over = _flag(
        "For `restore`: take the place of the vfolder itself, whose entries go to the trash."
    )


VERB_BODIES: dict[str, type[JobBody]] = {
    "clone": CloneBody,
    "delete": DeleteBody,
    "delete-files": DeleteFilesBody,
    "extract": ExtractBody,
    "find": FindBody,
    "transfer": TransferBody,
    "usage": UsageBody,
    "restore": RestoreBody,
    "purge": PurgeBody,
    "rescan": RescanBody,
    "adopt": AdoptBody,
    "snapshot": SnapshotBody,
}


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job as it was requested: the request of its verb, and what every job takes."""

    request: dict[str, Any]
    plan: bool
    label: str
    priority: int
    deadline_seconds: float | None


_ABOUT = ("plan", "label", "priority", "deadline_seconds")


class AnyJobBody(Body):
    """One of the verbs' bodies; `verb` says which."""

    class Meta:
        """The verb's own schema checks the keys."""

        unknown = ma.INCLUDE

    makes = JobOrder
    alternatives: ClassVar[dict[str, type[JobBody]]] = VERB_BODIES
    verb = fields.String(required=True, validate=validate.OneOf(sorted(VERB_BODIES)))

    @ma.post_load
    def _make(self, data: Mapping[str, Any], **_: Any) -> JobOrder:  # noqa: ANN401 - marshmallow's hook
        loaded = VERB_BODIES[data["verb"]]().load(data)
        about = {name: loaded.pop(name) for name in _ABOUT}
        return JobOrder(request=plain_request(loaded), **about)


def plain_request(loaded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request as JSON has them: ids and paths as text."""
    return {name: _text_form(value) for name, value in loaded.items()}


def _text_form(value: Any) -> Any:  # noqa: ANN401 - what a field made
    """Return ids and paths as text, everything else unchanged."""
    if isinstance(value, list):
        return [_text_form(item) for item in value]
    return str(value) if isinstance(value, QuotaScope | VFolderId | VFolderPath) else value
