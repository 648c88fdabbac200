"""The manager door: the wire the manager service speaks, and the job API."""

from flask import Flask
from flask_smorest import Api

from api.manager import (
    bgtasks,
    files,
    jobs,
    nodes,
    quota_scopes,
    status,
    tickets,
    usage,
    vfolders,
    volumes,
)


def install(app: Flask, api: Api) -> None:
    """Register every resource of the door."""
    app.register_blueprint(status.blueprint)
    for resource in (
        volumes,
        quota_scopes,
        vfolders,
        usage,
        files,
        tickets,
        bgtasks,
        jobs,
        nodes,
    ):
        api.register_blueprint(resource.blueprint)
