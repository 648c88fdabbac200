"""Memory of every process while verbs work on one directory of 1,000,000 entries.

A real node under its supervisor, on a fresh ext4. Reported per verb: its seconds, and how much more
than its idle size one process of each name held at most, in MiB (VmRSS of `/proc`, sampled). A
helper is compared with the worker's process that forked it.
"""

import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import requests

from benchmarks._places import loop, options
from tests.support.node import Node, running_node, wait_for

ENTRIES = 1_000_000
SAMPLE_SECONDS = 0.02
END_SECONDS = 3600.0
MORE = '[volume.other]\nbackend = "vfs"\npath = "volumes/other"\n'
_MIB = 1024 * 1024


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=1, entries=ENTRIES, verbs="")
    with loop("ext4", 64) as mount, tempfile.TemporaryDirectory(dir=mount) as room:
        directory = Path(room)
        (directory / "volumes" / "other").mkdir(parents=True)
        with running_node(directory, MORE) as node:
            _verbs(node, chosen.entries, set(filter(None, chosen.verbs.split(","))))


def _verbs(node: Node, entries: int, only: set[str]) -> None:
    person = _Person(node)
    source = person.vfolder()
    top = person.path(source)
    for number in range(entries):
        (top / f"file{number:07d}").touch()
    clone, copy = person.fresh(), person.fresh()
    steps: dict[str, Callable[[], object]] = {
        "usage": lambda: person.job("usage", vfolder=source),
        "archive": lambda: person.archive(source),
        "clone": lambda: person.job("clone", source=source, target=clone),
        "clone, checksums": lambda: person.job(
            "clone", source=source, target=person.fresh(), verify="checksum"
        ),
        "transfer": lambda: person.job(
            "transfer", source=source, target=copy, target_volume="other", target_path="."
        ),
        "extract": lambda: person.extract(entries),
        "delete, kept": lambda: person.job("delete", vfolder=source, keep_seconds=86400),
        "restore": lambda: person.job("restore", vfolder=source),
        "delete": lambda: person.job("delete", vfolder=source, keep_seconds=0),
    }
    time.sleep(5)
    print(f"  idle, MiB: { {kind: round(size) for kind, size in _idle(node).items()} }", flush=True)
    for name, step in steps.items():
        if only and name not in only:
            continue
        with _watching(node) as most:
            began = time.monotonic()
            step()
            spent = time.monotonic() - began
        above = {kind: round(size) for kind, size in sorted(most.items()) if size >= 1}
        print(f"  {name:18} {spent:7.1f} s  MiB above idle: {above}", flush=True)


class _Person:
    """A caller of both doors."""

    def __init__(self, node: Node) -> None:
        settings = node.settings
        self._manager = f"http://{settings.api.manager.address}"
        self._client = f"http://{settings.api.client.address}"
        self._session = requests.Session()
        self._session.trust_env = False
        secret = settings.api.manager.secret
        self._session.headers["X-BackendAI-Storage-Auth-Token"] = str(secret)
        self._volumes = node.directory / "volumes"
        self._scope = f"user:{uuid4()}"
        for volume in ("local", "other"):
            self.call("POST", "/quota-scope", volume=volume, qsid=self._scope)

    def call(self, method: str, path: str, **body: object) -> dict[str, Any]:
        answer = self._session.request(method, self._manager + path, json=body or None, timeout=600)
        if not answer.ok:
            raise RuntimeError(answer.text)
        return dict(answer.json()) if answer.content else {}

    def fresh(self) -> str:
        return f"{self._scope}/{uuid4()}"

    def vfolder(self) -> str:
        vfolder = self.fresh()
        self.call("POST", "/folder/create", volume="local", vfid=vfolder)
        return vfolder

    def path(self, vfolder: str) -> Path:
        scope, name = (UUID(part.rpartition(":")[2]).hex for part in vfolder.split("/"))
        return self._volumes / "local" / scope / name[:2] / name[2:4] / name[4:]

    def job(self, verb: str, **fields: object) -> dict[str, Any]:
        begun = self.call("POST", "/v1/jobs", verb=verb, volume="local", **fields)
        ended: dict[str, Any] = wait_for(
            lambda: (job := self.call("GET", f"/v1/jobs/{begun['id']}"))["done"] and job,
            END_SECONDS,
        )
        if ended["state"] != "succeeded":
            raise RuntimeError(ended)
        return ended

    def archive(self, vfolder: str) -> None:
        ticket = self.call(
            "POST", "/folder/file/download", volume="local", vfid=vfolder, relpath=".", archive=True
        )
        query = {"token": ticket["token"], "archive": "true", "format": "zip"}
        with self._session.get(
            self._client + "/download", params=query, stream=True, timeout=3600
        ) as answer:
            answer.raise_for_status()
            for _ in answer.iter_content(_MIB):
                pass

    def extract(self, entries: int) -> None:
        vfolder = self.vfolder()
        with tarfile.open(self.path(vfolder) / "all.tar", "w") as tar:
            for number in range(entries):
                tar.addfile(tarfile.TarInfo(f"file{number:07d}"))
        self.job("extract", vfolder=vfolder, source="all.tar", target="all", archive="tar")


def _rss(node: Node) -> Iterator[tuple[str, int, float]]:
    """Yield kind, process id and MiB of each process below the supervisor."""
    for process in psutil.Process(node.pid).children(recursive=True):
        try:
            words = process.cmdline()
            kind = next((words[at + 2] for at, word in enumerate(words) if word == "-m"), "")
            if "api.serve" in words or "workers.serve" in words:
                kind = words[-1]
            yield kind or Path(words[0]).name, process.pid, process.memory_info().rss / _MIB
        except (psutil.NoSuchProcess, IndexError):
            continue


def _idle(node: Node) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for kind, _, size in _rss(node):
        sizes[kind] = max(size, sizes.get(kind, 0.0))
    return sizes


@contextmanager
def _watching(node: Node) -> Iterator[dict[str, float]]:
    """Sample all processes until the end of the block; yield the growth by kind."""
    idle, most, ended = _idle(node), dict[str, float](), threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            for kind, _, size in _rss(node):
                most[kind] = max(size - idle.get(kind, 0.0), most.get(kind, 0.0))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()
