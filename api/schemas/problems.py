"""The shape of every error."""

import marshmallow as ma
from marshmallow import fields


class FieldError(ma.Schema):
    """One error in the request."""

    pointer = fields.String(
        required=True,
        metadata={"description": "JSON pointer into the body (RFC 6901)."},
    )
    detail = fields.String(required=True)


class Problem(ma.Schema):
    """An error (RFC 9457); further members are facts of the particular error."""

    class Meta:
        """Further members have names of their own."""

        unknown = ma.INCLUDE

    type = fields.String(
        required=True,
        metadata={
            "description": "The kind of the error: a URI relative to this door (RFC 9457). GET "
            "returns a page about it, without a secret.",
            "example": "/problems/storage/volume/invalid",
        },
    )
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(
        required=True, metadata={"description": "What is wrong, and what to do next."}
    )
    msg = fields.String(required=True, metadata={"description": "The same as `detail`."})
    error_code = fields.String(
        required=True,
        metadata={"description": "Stable code, `domain_operation_detail`."},
    )
    retriable = fields.Boolean(
        required=True,
        metadata={"description": "Whether the same request may work later."},
    )
    request_id = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The id of the request; the logs contain it."},
    )
    errors = fields.List(fields.Nested(FieldError))
    errors_omitted = fields.Integer(
        metadata={"description": "How many errors there are beside those in `errors`."},
    )
    data = fields.Raw(metadata={"description": "Text, or an object of texts by field."})
    errno = fields.Integer(allow_none=True)
    paths = fields.List(fields.String())
    job_id = fields.String(metadata={"description": "The job that holds the lock."})
