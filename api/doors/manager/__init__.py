"""The manager door: the routes of the manager service, and the job API. Knows no storage system."""

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
    """Register the routes of the door and their documentation."""
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
