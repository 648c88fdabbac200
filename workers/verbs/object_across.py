"""Which verb copies between two volumes of which at least one keeps objects."""

from typing import Any

from backends.entries import HasObjects
from backends.transfer import Endpoint, is_directory
from core.errors import EntryNotFound, Unsupported
from core.jobs.requests import CloneRequest, TransferRequest
from core.names import VFolderId, VFolderPath
from workers.run import Context
from workers.verbs.object_file import FileToObjects
from workers.verbs.object_overlay import OverlayToObjects
from workers.verbs.object_send import TransferToObjects
from workers.verbs.object_transfer import TransferFromObjects
from workers.verbs.objects import has_objects


def across(context: Context, request: CloneRequest | TransferRequest) -> Any:  # noqa: ANN401 - a table of verbs
    """Return the verb that copies from or to objects.

    Raises:
        Unsupported: the request moves entries, which only files can be.
    """
    if isinstance(request, TransferRequest) and request.remove_source:
        raise Unsupported("Objects are not moved by one job: transfer them, then delete them.")
    if not has_objects(context, request.home):
        return TransferFromObjects(context, request)
    if isinstance(request, TransferRequest) and _is_one_file(context, request):
        return FileToObjects(context, request)
    if isinstance(request, TransferRequest) and request.on_conflict != "fail":
        return OverlayToObjects(context, request)
    return TransferToObjects(context, request)


def _is_one_file(context: Context, request: TransferRequest) -> bool:
    """Return whether the source is no directory.

    Raises:
        EntryNotFound, VFolderNotFound: it does not exist.
    """
    vfolder, path = VFolderId.parse(request.source), VFolderPath.parse(request.source_path)
    if path.is_root:
        return False
    backend = context.backend(request.volume)
    if objects := backend.skill(HasObjects):
        return not objects.tree(vfolder).is_directory(path)
    status = Endpoint(backend, vfolder, path).status()
    if status is None:
        raise EntryNotFound(f"{path} does not exist.")
    return not is_directory(status)
