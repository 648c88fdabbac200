"""The trash of quota scopes: what can be restored, and until when."""

from flask import Response

from api.http import answer
from api.routes import Resource, Route, RouteAnswer, current_door
from api.schemas import TrashList
from backends.retention import trash
from core.errors import InvalidName, QuotaScopeNotFound, UnknownVolume
from core.names import QuotaScope

blueprint = Resource("trash", __name__, description="Deleted vfolders that are kept.")


@blueprint.operation(
    "GET",
    "/v1/volumes/<volume>/scopes/<scope>/trash",
    Route(
        gives={200: RouteAnswer("What is kept, newest first.", TrashList)},
        refuses=(UnknownVolume, QuotaScopeNotFound, InvalidName),
    ),
)
def list_trash(volume: str, scope: str) -> Response:
    """List the deleted vfolders of a quota scope that are kept, and what they hold together.

    `size_bytes` is null while a deletion is being counted; the sums leave such ones out.
    """
    owner = QuotaScope.parse(scope)
    found = current_door().volume_access.on_volume(volume, trash.kept, owner)
    return answer(
        {
            "trash": [note.document() for note in found],
            "size_bytes": sum(note.size_bytes or 0 for note in found),
            "entries": sum(note.entries or 0 for note in found),
        },
    )
