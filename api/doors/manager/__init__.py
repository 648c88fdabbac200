"""The manager door: the routes of the manager service, and the job API. Knows no storage system."""

from flask import Flask
from flask_smorest import Api

from api.doors.manager import (
    artifacts,
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
    "artifacts",
    "node_operations",
    "node_trees",
    "openapi",
]


def install(where: Api | Flask, *, people: bool = False) -> None:
    """Register the routes of the door: with a document, or with the door alone (much quicker).

    With `people`, also those about people's access.
    """
    if people:
        from api.doors.manager import access  # noqa: PLC0415 - most doors do not need it

        where.register_blueprint(access.blueprint)
    for blueprint in (
        status.blueprint,
        probes.blueprint,
        volumes.blueprint,
        quota_scopes.blueprint,
        vfolders.blueprint,
        usage.blueprint,
        trash.blueprint,
        files.blueprint,
        tickets.blueprint,
        jobs.older_routes,
        jobs.blueprint,
        reports.blueprint,
        nodes.blueprint,
        *artifacts.BLUEPRINTS,
    ):
        where.register_blueprint(blueprint)
