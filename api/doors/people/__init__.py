"""People's routes at the client door. They exist only with the table `[vfolder.access]`.

Each route names its act in `core.access.ACTS`, and the decision comes before the view.
"""

from flask import Flask
from flask_smorest import Api

from api.doors.people import (
    audit,
    content,
    copies,
    drops,
    entries,
    events,
    find,
    grants,
    groups,
    jobs,
    keys,
    links,
    me,
    notices,
    oidc,
    openapi,
    ownership,
    quotas,
    signins,
    snapshots,
    subjects,
    tickets,
    trash,
    uploads,
    vfolders,
    visits,
)

__all__ = ["entries", "keys", "openapi"]


def install(where: Api | Flask) -> None:
    """Register the routes: with a document, or with the door alone."""
    for blueprint in (
        me.blueprint,
        keys.blueprint,
        signins.blueprint,
        oidc.blueprint,
        audit.blueprint,
        vfolders.blueprint,
        grants.blueprint,
        groups.blueprint,
        subjects.blueprint,
        ownership.blueprint,
        copies.blueprint,
        snapshots.blueprint,
        entries.blueprint,
        trash.blueprint,
        find.blueprint,
        content.blueprint,
        uploads.blueprint,
        tickets.blueprint,
        jobs.blueprint,
        events.blueprint,
        links.blueprint,
        visits.blueprint,
        drops.blueprint,
        quotas.blueprint,
        notices.blueprint,
    ):
        where.register_blueprint(blueprint)
