"""The manager door: the wire the manager service speaks, and the job API."""

from flask_smorest import Api

from api.doors.manager import (
    bgtasks,
    files,
    jobs,
    node_operations,
    nodes,
    quota_scopes,
    reports,
    status,
    tickets,
    trash,
    usage,
    vfolders,
    volumes,
)
from api.routes import probes

__all__ = [
    "node_operations",
    "openapi",
]


def install(api: Api) -> None:
    """Register every resource of the door, and its documentation."""
    for resource in (
        status,
        probes,
        volumes,
        quota_scopes,
        vfolders,
        usage,
        trash,
        files,
        tickets,
        bgtasks,
        jobs,
        reports,
        nodes,
    ):
        api.register_blueprint(resource.blueprint)
