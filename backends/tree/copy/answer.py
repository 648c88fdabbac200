"""Answer the questions of another node about a tree of this one: one question, one stream."""

import os
import socket
from collections.abc import Callable
from typing import Any

from backends.tree.copy.sender import BatchTerms, FrameChannel, sending_work
from backends.tree.copy.verification import inode_of
from backends.tree.files import (
    DONE,
    Anchor,
    Frame,
    changed_since,
    checked,
    failure_frame,
    opened_file,
    stat_entry,
)
from backends.tree.processes import Message
from backends.tree.remote_compare import FactSender, digest_of
from core.errors import Defect, StorageError
from core.telemetry import logger

_log = logger(__name__)


def answer(source_fd: int, question: Frame, connection: socket.socket) -> None:
    """Answer a question about the tree at a descriptor, of which nothing is changed.

    Raises:
        ConnectionError: the other side is gone.
    """
    channel = FrameChannel(connection)
    try:
        kind, *arguments = question
        value = _ANSWERS[kind](Anchor(source_fd), channel, *arguments)
        channel.flush()
        channel.send([DONE, value])
        channel.push()
    except ConnectionError:
        raise
    except (StorageError, OSError) as error:
        channel.send(failure_frame(error))
        channel.push()
    except Exception:  # noqa: BLE001 - the other node must get an answer, whatever happens
        _log.exception("question of another node broke")
        channel.send(failure_frame(Defect("A defect at the source's node; its log has the story.")))
        channel.push()


def _batch(source: Anchor, channel: FrameChannel, wire: list[Any], message: Message) -> Message:
    terms = BatchTerms(*wire)
    channel.limit(terms.bytes_per_second)
    kind, *rest = message
    reply = sending_work(source, terms, channel)((kind, *_BATCHES[kind](*rest)), channel)
    if kind == "copy":  # nodes may know the one file system of a tree by different numbers
        _, number, receipt, links, *more = reply
        return ("copied", number, receipt, [(0, *link[1:]) for link in links], *more)
    return reply


def _facts(source: Anchor, channel: FrameChannel, path: str, digest: str, opens: object) -> None:
    FactSender(source, channel, digest, opens=bool(opens)).send(checked(path))


def _absent(source: Anchor, _: FrameChannel, path: str, names: list[str]) -> list[str]:
    """Return those names that a directory has no entry of."""
    fd = source.open(checked(path))
    try:
        return [name for name in names if stat_entry(_name(name), fd) is None]
    finally:
        os.close(fd)


def _changed(source: Anchor, _: FrameChannel, path: str, since_ns: int) -> bool:
    return changed_since(source, checked(path), since_ns)


def _inode(source: Anchor, _: FrameChannel, path: str) -> int:
    return inode_of(source, checked(path))


def _digest(source: Anchor, channel: FrameChannel, path: str, name: str) -> tuple[bytes, int]:
    """Return the digest of a file and its modification time."""
    with opened_file(source, checked(path)) as fd:
        status = os.fstat(fd)
        return digest_of(fd, status.st_size, name, channel), status.st_mtime_ns


_ANSWERS: dict[str, Callable[..., Any]] = {
    "batch": _batch,
    "facts": _facts,
    "absent": _absent,
    "changed": _changed,
    "inode": _inode,
    "digest": _digest,
}


# -- The batches of a copy, with their paths checked -----------------------------------------------
def _name(name: str) -> str:
    if "/" in name:
        raise OSError(22, os.strerror(22))
    return checked(name)


def _scan(paths: list[str], stretch: int) -> Message:
    return [checked(path) for path in paths], stretch


def _copy(part: int, units: list[tuple[str, list[str] | None]]) -> Message:
    return part, [
        (checked(path), None if names is None else [_name(name) for name in names])
        for path, names in units
    ]


def _of_file(part: int, path: str, *rest: Any) -> Message:  # noqa: ANN401 - numbers, spans and digests
    return part, checked(path), *rest


def _links(first: str, others: list[str], *rest: int) -> Message:
    return checked(first), [checked(path) for path in others], *rest


def _seal(paths: list[tuple[str, int]]) -> Message:
    return ([(checked(path), mtime_ns) for path, mtime_ns in paths],)


_BATCHES: dict[str, Callable[..., Message]] = {
    "scan": _scan,
    "copy": _copy,
    "big": _of_file,
    "met": _of_file,
    "piece": _of_file,
    "finish": _of_file,
    "links": _links,
    "seal": _seal,
}
