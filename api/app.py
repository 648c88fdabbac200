"""The doors as WSGI applications: `gunicorn 'api.app:manager_door()'`."""

from functools import partial

from flask import Flask

from api.doors import client, manager, pages
from api.doors.client import openapi as client_openapi
from api.doors.internal import metrics
from api.doors.manager import node_operations, node_trees, openapi
from api.http import auth
from api.routes import make_app, probes
from core.settings import Settings, load
from core.telemetry import logs


def manager_door(settings: Settings | None = None) -> Flask:
    """Return the door for the manager service and operators (default port 6022)."""
    settings = _begin("manager", settings)
    app = make_app("manager", settings)
    auth.require_secret(app, settings.api.manager.secret)
    people = settings.vfolder.access is not None
    manager.install(app, people=people)
    openapi.serve(app, partial(openapi.manager_document, people=people))
    app.register_blueprint(node_operations.blueprint)
    app.register_blueprint(node_trees.blueprint)
    app.register_blueprint(pages.blueprint)
    return app


def client_door(settings: Settings | None = None) -> Flask:
    """Return the door for users' clients, which send tickets (default port 6021)."""
    settings = _begin("client", settings)
    app = make_app("client", settings)
    app.register_blueprint(client.blueprint)
    app.register_blueprint(pages.blueprint)
    if settings.vfolder.access is None:
        openapi.serve(app, client_openapi.client_document)
    else:
        from api.doors import operators, people  # noqa: PLC0415 - most doors have no such table

        people.install(app)
        operators.install(app)
        openapi.serve(app, people.openapi.people_document)
        if settings.vfolder.console.enabled:
            from api.doors import console  # noqa: PLC0415 - most doors have no such table

            app.register_blueprint(console.blueprint)
    return app


def internal_door(settings: Settings | None = None) -> Flask:
    """Return the door for Prometheus and probes (default port 16023)."""
    settings = _begin("internal", settings)
    app = make_app("internal", settings, measured=False)
    app.register_blueprint(probes.blueprint)
    document = partial(openapi.manager_document, people=settings.vfolder.access is not None)
    openapi.serve(app, document, settings.api.manager.url or "/")
    app.register_blueprint(metrics.metrics)
    app.register_blueprint(pages.blueprint)
    return app


def _begin(door: str, settings: Settings | None) -> Settings:
    logs.configure(door)
    settings = settings or load()
    logs.set_level(settings.log_level)
    return settings
