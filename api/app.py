"""The doors as WSGI applications: `gunicorn 'api.app:manager_door()'`.

A process loads the code of its own door alone; `load_code` does it before the fork.
"""

from importlib import import_module

from flask import Flask

from api.doors import documents, pages
from api.doors.documents import OpenApiDocument
from api.http import auth
from api.routes import make_app, on_behalf, probes
from core.settings import Settings, load
from core.telemetry import logs

_CODE = {
    "manager": (
        "api.doors.manager",
        "api.doors.manager.node_operations",
        "api.doors.manager.node_trees",
        "api.doors.manager.openapi",
    ),
    "client": ("api.doors.client", "api.doors.client.openapi"),
    "internal": ("api.doors.internal.metrics",),
}
#: What a door needs beyond that with people.
_CODE_WITH_PEOPLE = {
    "manager": ("api.doors.manager.access", "api.routes.people_parts"),
    "client": (
        "api.access.links",
        "api.doors.console",
        "api.doors.operators",
        "api.doors.people",
        "api.routes.people_parts",
    ),
}


def load_code(door: str, settings: Settings) -> None:
    """Load all that the application of a door is made of."""
    people = settings.vfolder.access is not None
    for name in _CODE[door] + (_CODE_WITH_PEOPLE.get(door, ()) if people else ()):
        import_module(name)


def manager_door(settings: Settings | None = None) -> Flask:
    """Return the door for the manager service and operators (default port 6022)."""
    from api.doors import manager  # noqa: PLC0415 - no other door needs it
    from api.doors.manager import node_operations, node_trees  # noqa: PLC0415 - as above

    settings = _begin("manager", settings)
    app = make_app("manager", settings)
    auth.require_secret(app, settings.api.manager.secret)
    people = settings.vfolder.access is not None
    on_behalf.read_header(app, people=people)
    manager.install(app, people=people)
    documents.serve(app, lambda: _document_of_manager(people=people))
    app.register_blueprint(node_operations.blueprint)
    app.register_blueprint(node_trees.blueprint)
    app.register_blueprint(pages.blueprint)
    return app


def client_door(settings: Settings | None = None) -> Flask:
    """Return the door for users' clients, which send tickets (default port 6021)."""
    from api.doors import client  # noqa: PLC0415 - no other door needs it
    from api.doors.client import openapi  # noqa: PLC0415 - as above

    settings = _begin("client", settings)
    app = make_app("client", settings)
    app.register_blueprint(client.blueprint)
    app.register_blueprint(pages.blueprint)
    if settings.vfolder.access is None:
        documents.serve(app, openapi.client_document)
    else:
        from api.doors import operators, people  # noqa: PLC0415 - most doors have no such table

        people.install(app)
        operators.install(app)
        documents.serve(app, people.openapi.people_document)
        if settings.vfolder.console.enabled:
            from api.doors import console  # noqa: PLC0415 - most doors have no such table

            app.register_blueprint(console.blueprint)
    return app


def internal_door(settings: Settings | None = None) -> Flask:
    """Return the door for Prometheus and probes (default port 16023)."""
    from api.doors.internal import metrics  # noqa: PLC0415 - no other door needs it

    settings = _begin("internal", settings)
    app = make_app("internal", settings, measured=False)
    app.register_blueprint(probes.blueprint)
    people = settings.vfolder.access is not None
    server = settings.api.manager.url or "/"
    documents.serve(app, lambda: _document_of_manager(people=people), server)
    app.register_blueprint(metrics.metrics)
    app.register_blueprint(pages.blueprint)
    return app


def _document_of_manager(*, people: bool) -> OpenApiDocument:
    # The internal door shows it, too, and has none of its routes.
    from api.doors.manager import openapi  # noqa: PLC0415 - the first reader pays for it

    return openapi.manager_document(people=people)


def _begin(door: str, settings: Settings | None) -> Settings:
    logs.configure(door)
    settings = settings or load()
    logs.set_level(settings.log_level)
    return settings
