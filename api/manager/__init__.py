"""The manager door: the wire the manager service speaks, and the job API."""

from flask import Flask

from api.manager import status


def install(app: Flask) -> None:
    """Register every resource of the door."""
    app.register_blueprint(status.blueprint)
