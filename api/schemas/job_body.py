"""What a job of any verb is asked with."""

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.fields import VolumeName
from core.jobs import PRIORITY_DEFAULT, PRIORITY_FIRST, PRIORITY_LAST

LABEL_MAX = 200
#: The longest deadline that may be asked: a year (seconds).
DEADLINE_MAX_SECONDS = 365 * 86_400


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ma.ValidationError("Not text: it has half of a surrogate pair.") from None


_LABEL = validate.And(validate.Length(max=LABEL_MAX), _encodable)


class JobBody(ma.Schema):
    """What every verb takes."""

    verb = fields.String(required=True, metadata={"description": "What to do."})
    volume = VolumeName()
    plan = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={"description": "Only tell how it would be done, and every refusal."},
    )
    requester = fields.String(
        load_default="",
        validate=_LABEL,
        metadata={"description": "Who asks; jobs are listed by it and keys are kept apart by it."},
    )
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
        metadata={"description": "Give up when it has not ended after so many seconds."},
    )
