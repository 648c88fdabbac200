"""The content of a file, in constant memory, each read within the deadline of its volume."""

import os
from collections.abc import Iterator

from flask import Response

from api.routes.door import Door, current_door
from api.schemas import OneEntry
from backends.entries import HasObjects
from backends.fs import paths
from backends.volumes import operations
from core.errors import InvalidParameters, NotFound, PathEscape, UnknownVolume

#: Bytes of one read; also the memory of one stream.
CHUNK_BYTES = 256 * 1024
#: Bytes of one call for a file of another node.
PIECE_BYTES = 1024 * 1024
CONTENT_TYPE = "application/octet-stream"


def stream_file(entry: OneEntry) -> Response:
    """Return a response with the content of a regular file; any other entry has no content.

    Raises:
        PathEscape: the path leads outside of the vfolder.
    """
    door = current_door()
    try:
        if not door.volume_access.is_here(entry.volume) or _has_objects(door, entry.volume):
            return _in_pieces(door, entry)
        descriptor = door.volume_access.in_vfolder(entry, paths.open_file, entry.path)
    except PathEscape:
        raise
    except (NotFound, UnknownVolume, InvalidParameters):
        return Response(b"", content_type=CONTENT_TYPE)
    response = Response(_chunks(door, entry.volume, descriptor), content_type=CONTENT_TYPE)
    response.call_on_close(lambda: os.close(descriptor))
    return response


def _chunks(door: Door, volume: str, descriptor: int) -> Iterator[bytes]:
    while chunk := door.deadlines.call(volume, os.read, descriptor, CHUNK_BYTES):
        yield chunk


def _has_objects(door: Door, volume: str) -> bool:
    return door.volumes.get(volume).skill(HasObjects) is not None


def _in_pieces(door: Door, entry: OneEntry) -> Response:
    """Return a file of another node, or an object, by calls; the first precedes the answer."""
    access = door.volume_access
    first = access.in_vfolder(entry, operations.read_piece, entry.path, 0, PIECE_BYTES)

    def pieces() -> Iterator[bytes]:
        at, piece = 0, first
        while piece.data:
            yield piece.data
            at += len(piece.data)
            piece = access.in_vfolder(
                entry, operations.read_piece, entry.path, at, PIECE_BYTES, first.inode
            )

    return Response(pieces(), content_type=CONTENT_TYPE)
