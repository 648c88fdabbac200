"""The route about oneself: one call tells a client all that it needs to start."""

from flask import Response

from api.http import answer
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.schemas import people as shapes
from core.names import moment_or_none
from core.process.version import VERSION

blueprint = PeopleResource("me", __name__, description="Oneself.")


@blueprint.operation("GET", "/v1/me", Route(gives={200: RouteAnswer("The caller.", shapes.Me)}))
@needs("me.read")
def get_me(asked: PersonRequest) -> Response:
    """Tell who asks: the subject, its groups, its credential, and what this server can do."""
    subject, credential = asked.caller.subject, asked.caller.credential
    settings = current_door().settings
    admin_of = subject.admin_of
    groups = sorted(subject.groups | admin_of, key=str)
    document = {
        "subject": {
            "kind": subject.kind,
            "id": str(subject.id) if subject.id else None,
            "name": subject.name,
        },
        "groups": [{"id": str(group), "admin": group in admin_of} for group in groups],
        "credential": {
            "kind": credential.kind,
            "id": credential.id,
            "scopes": sorted(credential.scopes),
            "volumes": _sorted(credential.volumes),
            "vfolders": _sorted(credential.vfolders),
            "expires_at": moment_or_none(credential.expires_at),
        },
        "limits": {"upload_bytes": settings.storage_proxy.max_upload_bytes},
        "features": asked.service.features,
        "volumes": asked.service.volumes_of(asked.caller),
        "version": VERSION,
    }
    response = answer(document)
    response.headers["Cache-Control"] = "no-store"
    return response


def _sorted(names: frozenset[object] | None) -> list[str] | None:
    return None if names is None else sorted(map(str, names))
