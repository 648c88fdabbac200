"""A tree on another node, as the engines here reach it: questions, and streams of frames.

A frame is a length, a checksum and a list of builtin values in MessagePack. Its first value names
its kind. A stream ends with the frame `done`, `system` or `storage`. Any other end is a broken
connection: the question may be asked again. Names that are not UTF-8 travel as their bytes.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgpack
import xxhash

from core import errors
from core.errors import BackendFailed, NodeAway, StorageError
from core.redis import json

#: Longest valid frame (bytes).
FRAME_BYTES_MAX = 32 * 1024 * 1024
#: The last frames of a stream: an answer, a failure of a system call, an error of ours.
DONE, SYSTEM, STORAGE = "done", "system", "storage"

_HEAD = struct.Struct("!IQ")
_SURROGATES = "surrogateescape"
#: The extension of MessagePack for integers of more than 64 bits (times far from the epoch).
_LONG_NUMBER, _LONG_BYTES = 1, 16
_STATUS_FIELDS = ("nlink", "uid", "gid", "size")

#: A list of builtin values.
Frame = Any
#: Asks a question and yields the frames of its answer; an exception as `RemoteTree.ask` raises.
Transport = Callable[[list[Any]], Iterator[Frame]]


def pack_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    payload: bytes = msgpack.packb(frame, default=_long, unicode_errors=_SURROGATES)
    return _HEAD.pack(len(payload), xxhash.xxh3_64_intdigest(payload)) + payload


def read_frame(read: Callable[[int], bytes]) -> Frame | None:
    """Return the next frame; None at the end of the stream. `read` returns fewer bytes there.

    Raises:
        NodeAway: the stream ends within a frame, or a frame is damaged.
    """
    head = read(_HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size:
        raise NodeAway("the stream broke")
    size, digest = _HEAD.unpack(head)
    if size > FRAME_BYTES_MAX:
        raise NodeAway("a frame is too long")
    payload = read(size)
    if len(payload) < size or xxhash.xxh3_64_intdigest(payload) != digest:
        raise NodeAway("a frame is damaged")
    return msgpack.unpackb(
        payload, ext_hook=_number, use_list=False, strict_map_key=False, unicode_errors=_SURROGATES
    )


def _long(value: Any) -> Any:  # noqa: ANN401 - what MessagePack cannot encode by itself
    if isinstance(value, int):
        return msgpack.ExtType(_LONG_NUMBER, value.to_bytes(_LONG_BYTES, "big", signed=True))
    raise TypeError(f"{type(value).__name__} is no value of a frame")


def _number(code: int, data: bytes) -> int:
    if code != _LONG_NUMBER:
        raise NodeAway("a frame has a value of another kind")
    return int.from_bytes(data, "big", signed=True)


def status_to_wire(status: os.stat_result) -> list[int]:
    """Return the attributes that a copy needs.

    The number of the device is 0: a tree is on one, and nodes may know it by different numbers.
    """
    times = [status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns, status.st_blocks]
    plain = (getattr(status, f"st_{name}") for name in _STATUS_FIELDS)
    return [status.st_mode, status.st_ino, 0, *plain, *times]


def status_from_wire(wire: list[int]) -> os.stat_result:
    """Return the attributes that `status_to_wire` encoded."""
    *plain, atime_ns, mtime_ns, ctime_ns, blocks = wire
    seconds = [ns // 10**9 for ns in (atime_ns, mtime_ns, ctime_ns)]
    times = {"st_atime_ns": atime_ns, "st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns}
    return os.stat_result((*plain, *seconds), times | {"st_blocks": blocks})


def failure_frame(error: StorageError | OSError) -> Frame:
    """Return the last frame of a stream that failed."""
    if isinstance(error, OSError):
        return [SYSTEM, error.errno or 0]
    return [STORAGE, type(error).__name__, error.detail, json.dumps(error.facts)]


#: Every error of ours by its name.
_KINDS: dict[str, type[StorageError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, StorageError)
}


class RemoteTree:
    """A directory tree that another node serves. Every method may raise `NodeAway`.

    A path outside of the tree is refused where the question arrives.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def ask(self, question: str, *arguments: Any) -> Iterator[Frame]:  # noqa: ANN401 - builtin values
        """Yield the frames of an answer; the last one is the value of `done` alone.

        Raises:
            OSError, StorageError: the other node met it.
        """
        for frame in self._transport([question, *arguments]):
            kind = frame[0]
            if kind == DONE:
                yield frame
                return
            if kind == SYSTEM:
                raise OSError(frame[1], os.strerror(frame[1]))
            if kind == STORAGE:
                facts: dict[str, Any] = {}
                with suppress(ValueError):
                    facts = json.loads(frame[3])
                raise _KINDS.get(frame[1], BackendFailed)(frame[2], **facts)
            yield frame
        raise NodeAway("the stream ended early")

    def value(self, question: str, *arguments: Any) -> Any:  # noqa: ANN401 - builtin values
        """Return the value of an answer without frames before it."""
        *_, last = self.ask(question, *arguments)
        return last[1]

    def changed_since(self, path: str, since_ns: int) -> bool:
        """Return whether an entry changed, as `backends.tree.files.changed_since`."""
        return bool(self.value("changed", path, since_ns))


def checked(path: str) -> str:
    """Return a path that came from another node; the root is empty.

    Raises:
        OSError: EINVAL; a part of it is no name of an entry.
    """
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") for part in parts) or "\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return path
