"""The version of a door, and the health of its node."""

import marshmallow as ma
from marshmallow import fields, validate


class Status(ma.Schema):
    """The door and its version."""

    status = fields.String(required=True, validate=validate.OneOf(["ok"]))
    type = fields.String(required=True)
    version = fields.String(required=True, data_key="storage-proxy")


class Version(ma.Schema):
    """The version of this service."""

    component = fields.String(required=True)
    version = fields.String(required=True)


class HealthCheck(ma.Schema):
    """One component that this node needs."""

    service_group = fields.String(required=True)
    component_id = fields.String(required=True)
    is_healthy = fields.Boolean(required=True)
    last_checked_at = fields.DateTime(required=True)
    error_message = fields.String(required=True, allow_none=True)


class Connectivity(ma.Schema):
    """All components that this node needs."""

    overall_healthy = fields.Boolean(required=True)
    connectivity_checks = fields.List(fields.Nested(HealthCheck), required=True)
    timestamp = fields.DateTime(required=True)


class Health(ma.Schema):
    """The health of the node."""

    status = fields.String(required=True, validate=validate.OneOf(["ok", "degraded", "error"]))
    version = fields.String(required=True)
    component = fields.String(required=True)
    connectivity = fields.Nested(Connectivity, required=True)
