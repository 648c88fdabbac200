"""Routes of the entries of a vfolder: make, list, rename, move, delete, fetch."""

from http import HTTPStatus

from flask import Response

from api.http import answer, no_content
from api.routes import Resource, Route, RouteAnswer, current_door, on_behalf, stream_file
from api.schemas import (
    Done,
    EntryBody,
    EntryList,
    ListBody,
    ListDirectory,
    MadeDirectories,
    MakeDirectories,
    MakeDirectoriesBody,
    MoveBody,
    MoveEntry,
    OneEntry,
    RemoveEntries,
    RemoveEntriesBody,
    RenameBody,
    RenameEntry,
)
from backends.entries import entries, listing
from core.errors import (
    EntryRefused,
    InvalidName,
    PathEscape,
    StorageError,
    VFolderNotFound,
)
from core.names import VFolderPath

blueprint = Resource("files", __name__, description="Entries of a vfolder.")

_PATHS = (VFolderNotFound, PathEscape, EntryRefused)


@blueprint.operation(
    "POST",
    "/folder/file/mkdir",
    Route(
        takes=MakeDirectoriesBody,
        gives={
            200: RouteAnswer("All directories were made.", MadeDirectories),
            207: RouteAnswer("Some directories were made.", MadeDirectories),
            422: RouteAnswer("No directory was made.", MadeDirectories),
        },
    ),
)
@on_behalf.on_vfolder("entries.write")
def make_directories(body: MakeDirectories) -> Response:
    """Make directories.

    Each path has its own result: those that could not be made are in `failed` with the reason.
    """
    door = current_door()
    access = door.volume_access
    access.check_known(body.volume)
    # Nodes of an earlier version do not know this word.
    owned = door.settings.vfolder.entries.owner == "directory"
    more = {"owned_by_directory": True} if owned else {}
    success, failed = [], []
    for text in body.paths:
        try:
            access.in_vfolder(
                body,
                entries.make_directory,
                VFolderPath.parse(text),
                parents=body.parents,
                exist_ok=body.exist_ok,
                **more,
            )
        except StorageError as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.retriable:
                raise
            failed.append({"item": text, "msg": error.detail})
        else:
            success.append({"item": text, "msg": None})
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    if success:
        status = HTTPStatus.MULTI_STATUS if failed else HTTPStatus.OK
    return answer({"results": {"success": success, "failed": failed}}, status)


@blueprint.operation(
    "POST",
    "/folder/file/list",
    Route(takes=ListBody, gives={200: RouteAnswer("Its entries.", EntryList)}, refuses=_PATHS),
)
@on_behalf.on_vfolder("entries.read")
def list_directory(body: ListDirectory) -> Response:
    """List a directory in the order of names.

    Without `limit`, the configured limit holds. `truncated` says whether there are more entries;
    `next` is the `cursor` of the next page.
    """
    door = current_door()
    limit = door.settings.storage_proxy.scandir_limit if body.limit is None else body.limit
    page = door.volume_access.in_vfolder(
        body, listing.list_directory, body.path, limit, body.cursor
    )
    return answer(
        {"items": page.items, "truncated": page.next is not None, "next": page.next},
    )


@blueprint.operation(
    "POST",
    "/folder/file/rename",
    Route(takes=RenameBody, gives={204: RouteAnswer("Renamed.")}, refuses=(*_PATHS, InvalidName)),
)
@on_behalf.on_vfolder("entries.write")
def rename_entry(body: RenameEntry) -> Response:
    """Rename an entry within its directory.

    A file may replace a file; nothing replaces a directory. A link itself is renamed, not its
    target.
    """
    access, more = current_door().volume_access, _replacing()
    access.in_vfolder(body, entries.rename, body.path, body.new_name, **more)
    return no_content()


@blueprint.operation(
    "POST",
    "/folder/file/move",
    Route(takes=MoveBody, gives={204: RouteAnswer("Moved.")}, refuses=_PATHS),
)
@on_behalf.on_vfolder("entries.write")
def move_entry(body: MoveEntry) -> Response:
    """Move an entry to another place in the same vfolder.

    When the target is a directory, the entry moves into it. A file may replace a file; nothing
    replaces a directory. A link itself is moved, not its target.
    """
    access, more = current_door().volume_access, _replacing()
    access.in_vfolder(body, entries.move, body.source, body.target, **more)
    return no_content()


@blueprint.operation(
    "POST",
    "/folder/file/delete",
    Route(
        takes=RemoveEntriesBody,
        gives={200: RouteAnswer("Removed.", Done)},
        refuses=(*_PATHS, InvalidName),
    ),
)
@on_behalf.on_removal
def delete_entries(body: RemoveEntries) -> Response:
    """Remove entries.

    Absent entries are skipped, and directories too unless `recursive` is true. A link itself is
    removed, not its target. The vfolder itself is not removed by this route.
    """
    current_door().volume_access.on_volume(
        body.volume, entries.remove_entries, body.vfolder, body.paths, recursive=body.recursive
    )
    return answer({"status": "ok"})


@blueprint.operation(
    "POST",
    "/folder/file/fetch",
    Route(
        takes=EntryBody,
        gives={200: RouteAnswer("Its content.", content_type="application/octet-stream")},
        refuses=(PathEscape,),
    ),
)
@on_behalf.on_vfolder("entries.read")
def fetch_file(body: OneEntry) -> Response:
    """Send the content of a file.

    What is not a file (absent, a directory, a device, or in an absent vfolder) has no content. The
    answer is empty then, because clients that read logs expect it.
    """
    return on_behalf.keep_deciding(stream_file(body))


def _replacing() -> dict[str, bool]:
    """Return how an entry moves: a user without the right to remove entries replaces none."""
    # Nodes of an earlier version do not know this word.
    return {} if on_behalf.may_replace() else {"replace": False}
