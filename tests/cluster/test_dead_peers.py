"""A node whose kernel answers no more is found soon; one that is only slow is waited for."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from errno import EHOSTUNREACH, ETIMEDOUT
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.tree import Frame, pack_frame
from core.cluster import NodeStore, NodeVolume
from core.errors import NodeAway
from core.names import VFolderId, VFolderPath
from core.redis import Database, connect
from tests.support.doors import settings_in
from tests.support.hosts import Host, hosts
from tests.support.node_records import node_record
from tests.support.valkey import Valkey
from workers.verbs.transfer.node_trees import NodeTrees

pytestmark = [pytest.mark.part("network-namespaces"), pytest.mark.slow]
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
VFOLDER = VFolderId.parse(f"user:{uuid4()}/{uuid4().hex}")
#: Longer than a dead node takes to be found, shorter than a silent one may be.
FOUND_SECONDS = 100


class SilentDoor:
    """Answers one question with one frame, and with the second when asked to."""

    def __init__(self, host: Host) -> None:
        self._listening = host.run(lambda: socket.create_server((host.address, 0)))
        self.url = f"http://{host.address}:{self._listening.getsockname()[1]}"
        self._client: socket.socket | None = None

    def answer(self) -> None:
        self._client, _ = self._listening.accept()
        self._client.recv(65_536)
        self._client.sendall(HEAD + pack_frame(["first"]))

    def end(self) -> None:
        assert self._client is not None
        self._client.sendall(pack_frame(["second"]))
        self._client.close()

    def close(self) -> None:
        self._listening.close()
        if self._client is not None:
            self._client.close()


def asked(trees: NodeTrees) -> Iterator[Frame]:
    return trees.to(VFOLDER)(VFolderPath.parse(""))(["status"])


def causes(error: BaseException) -> Iterator[Any]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def test_a_cut_cable_is_found_and_a_slow_node_is_waited_for(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    nodes = NodeStore(connect(settings, Database.JOBS))
    with ExitStack() as opened:
        network = opened.enter_context(hosts(2))
        streams = []
        for name, host in zip(("slow", "dead"), network.nodes, strict=True):
            door = SilentDoor(host)
            opened.callback(door.close)
            served = {name: NodeVolume(proven=True)}
            nodes.renew(node_record(name, manager_url=door.url, volumes=served, answers=True))
            trees = NodeTrees(settings, nodes, name)
            assert trees.look()
            stream = asked(trees)
            first = network.hub.begin(lambda found=stream: next(found))
            door.answer()
            assert first.result(FOUND_SECONDS)[0] == "first"
            streams.append((door, stream))
        (slow, slow_stream), (_, dead_stream) = streams
        waiting = network.hub.begin(lambda: next(slow_stream))
        network.cut(2)
        lost = network.hub.begin(lambda: next(dead_stream)).exception(FOUND_SECONDS)
        assert isinstance(lost, NodeAway)
        said = [cause.errno for cause in causes(lost) if isinstance(cause, OSError)]
        assert said, "the kernel said it, and no time-out of ours"
        assert set(said) <= {ETIMEDOUT, EHOSTUNREACH}
        assert not waiting.done()
        slow.end()
        assert waiting.result(FOUND_SECONDS)[0] == "second"
