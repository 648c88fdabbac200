"""What a transfer takes, beside what every job does."""

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.fields import INTEGER_MAX, PathField, VFolderField
from api.schemas.job_body import JobBody
from backends.tree import parse_rule
from core.errors import InvalidParameters
from core.jobs.requests import RULE_LENGTH_MAX, RULES_MAX
from core.names import VFolderPath


def _readable(rule: str) -> None:
    try:
        parse_rule(rule)
    except InvalidParameters as error:
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


class TransferBody(JobBody):
    """Bring a vfolder, or a path in it, into another vfolder, on any volume."""

    source = VFolderField("source")
    source_path = PathField("source_path", load_default=lambda: VFolderPath(()))
    target = VFolderField("target")
    target_volume = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "Volume of the target; the same volume when absent."},
    )
    target_path = PathField("target_path", load_default=lambda: VFolderPath(()))
    filters = fields.List(
        fields.String(validate=validate.And(validate.Length(1, RULE_LENGTH_MAX), _readable)),
        load_default=list,
        validate=validate.Length(max=RULES_MAX),
        metadata={
            "description": "`+ PATTERN` takes, `- PATTERN` leaves out; the first match decides."
        },
    )
    min_bytes = _size("Leave out smaller files.")
    max_bytes = _size("Leave out bigger files.")
    newer_than = _moment("Leave out what was modified before (RFC 3339).")
    older_than = _moment("Leave out what was modified after (RFC 3339).")
    on_conflict = _choice(
        "fail",
        ["fail", "skip", "replace", "newer"],
        "What becomes of an entry of the target that differs: the transfer fails, it stays, it "
        "is replaced, or it is replaced when it is older.",
    )
    on_error = _choice(
        "stop",
        ["stop", "skip"],
        "At an entry that cannot be done: fail with the target as it was, or go on (`partial`).",
    )
    verify = _choice(
        "size", ["none", "size", "checksum"], "What is compared before anything is published."
    )
    delete_extra = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={
            "description": "Take away what the target has and the source has not (not what a "
            "filter leaves out); refused when the source could not be read whole."
        },
    )
    bytes_per_second = fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, INTEGER_MAX),
        metadata={"description": "Not faster than this; `PUT /v1/jobs/ID/bandwidth` changes it."},
    )
