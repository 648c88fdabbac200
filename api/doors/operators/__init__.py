"""Routes for operators at the client door. They answer from `operator-networks` only; else 404.

They do what the routes of the manager door do, by the same functions. Each change takes a reason
and is in the audit log.
"""

from flask import Flask
from flask_smorest import Api

from api.doors.operators import (
    diagnostics,
    doctor,
    nodes,
    overview,
    people,
    quotas,
    settings,
    users,
    volumes,
)


def install(where: Api | Flask) -> None:
    """Register the routes: with a document, or with the door alone."""
    for part in (overview, volumes, doctor, nodes, quotas, people, users, settings, diagnostics):
        where.register_blueprint(part.blueprint)
