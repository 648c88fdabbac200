"""The route of the trash of a quota scope: what can be restored, and until when."""

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
        gives={200: RouteAnswer("The deleted vfolders, newest first.", TrashList)},
        refuses=(UnknownVolume, QuotaScopeNotFound, InvalidName),
    ),
)
def list_trash(volume: str, scope: str) -> Response:
    """List the deleted vfolders of a quota scope that are kept, and their total size.

    `size_bytes` is null while a deletion is being counted; the sums leave it out.
    """
    owner = QuotaScope.parse(scope)
    kept = current_door().volume_access.on_volume(volume, trash.kept, owner)
    return answer(
        {
            "trash": [deleted.document() for deleted in kept],
            "size_bytes": sum(deleted.size_bytes or 0 for deleted in kept),
            "entries": sum(deleted.entries or 0 for deleted in kept),
        },
    )
