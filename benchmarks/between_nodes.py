"""Memory of both nodes while a tree of many entries is copied from one to the other.

Two real nodes, each a worker and a manager door, of which each serves one volume, on a fresh ext4.
Reported per node and kind of process: how much one process held when it was idle and at most, in
MiB (VmRSS of `/proc`, sampled; a worker's helpers are kinds of their own), and what has arrived.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from benchmarks._places import loop, options
from core.settings import load
from tests.cluster.test_between_nodes import Site
from tests.support.doors import RunningDoor, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey

ENTRIES = 1_000_000
FILES_PER_DIRECTORY = 200
CONTENT = b"x" * 64
SAMPLE_SECONDS = 0.5
END_SECONDS = 3600.0
MORE = "[vfolder.doors]\nprocesses = 1\n"
_MIB = 1024 * 1024
Sizes = dict[str, float]


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=1, entries=ENTRIES)
    with ExitStack() as held:
        mount = held.enter_context(loop("ext4", 64))
        directory = Path(held.enter_context(tempfile.TemporaryDirectory(dir=mount)))
        valkey = held.enter_context(running_valkey(directory / "store"))
        source, target = (started(directory, name, valkey, held) for name in ("source", "target"))
        vfolder = planted(source, chosen.entries)
        nodes = {"source": source, "target": target}
        idle = sizes(nodes)
        with watching(nodes) as most:
            copy = f"user:{uuid4()}/{uuid4().hex}"
            ended = clone(target, source.volume, vfolder, copy)
        show(ended, idle, most)
        print(f"  entries at the target: {counted(target.path(copy)):,}")


def started(directory: Path, volume: str, valkey: Valkey, held: ExitStack) -> Site:
    """A node that serves one volume of its own name."""
    (directory / volume / volume).mkdir(parents=True)
    path = Path(settings_in(directory / volume, valkey.url, MORE).origin)
    text = path.read_text("utf-8").replace('"node1"', f'"{volume}"')
    text = text.replace("[volume.local]", f"[volume.{volume}]").replace('"local"', f'"{volume}"')
    path.write_text(text, "utf-8")
    node = Site(load(path, environ={}), volume)
    held.callback(node.stop)
    node.start()
    return node


def door_of(node: Site) -> RunningDoor:
    if node.door is None:
        raise RuntimeError(f"the door of {node.volume} does not run")
    return node.door


def planted(node: Site, entries: int) -> str:
    """A vfolder with directories of equal files; with its directories it has `entries` entries."""
    vfolder = f"user:{uuid4()}/{uuid4().hex}"
    door_of(node).taken("POST", "/folder/create", {"volume": node.volume, "vfid": vfolder})
    top = node.path(vfolder)
    for number in range(entries):
        below = top / f"{number // (FILES_PER_DIRECTORY + 1):05d}"
        if number % (FILES_PER_DIRECTORY + 1) == 0:
            below.mkdir()
        else:
            (below / f"{number:07d}").write_bytes(CONTENT)
    return vfolder


def clone(node: Site, volume: str, source: str, target: str) -> dict[str, Any]:
    """Have the target's node copy; return the ended job."""
    door, order = door_of(node), {"verb": "clone", "volume": volume, "source": source}
    order |= {"target": target, "target_volume": node.volume}
    job = door.taken("POST", "/v1/jobs", order).json()["id"]

    def ended() -> dict[str, Any]:
        answer: dict[str, Any] = door.taken("GET", f"/v1/jobs/{job}").json()
        return answer if answer["done"] else {}

    return wait_for(ended, END_SECONDS)


def sizes(nodes: dict[str, Site]) -> Sizes:
    """The MiB of the largest process of each kind, by node and kind."""
    found: Sizes = {}
    for name, node in nodes.items():
        for kind, pid in (("worker", node.worker), ("door", door_of(node).process.pid)):
            for key, size in tree(f"{name} {kind}", pid):
                found[key] = max(size, found.get(key, 0.0))
    return found


def tree(name: str, pid: int, depth: int = 0) -> Iterator[tuple[str, float]]:
    """Yield a process and those below it: a worker, its pool, and the helpers of a job."""
    try:
        process = psutil.Process(pid)
        yield f"{name}{'>' * depth}", process.memory_info().rss / _MIB
        below = process.children()
    except psutil.NoSuchProcess:
        return
    for child in below:
        yield from tree(name, child.pid, depth + 1)


@contextmanager
def watching(nodes: dict[str, Site]) -> Iterator[Sizes]:
    """Sample all processes until the end of the block; yield the largest sizes."""
    most, over = Sizes(), threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            for key, size in sizes(nodes).items():
                most[key] = max(size, most.get(key, 0.0))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def counted(top: Path) -> int:
    return sum(1 for _ in top.rglob("*"))


def show(job: dict[str, Any], idle: Sizes, most: Sizes) -> None:
    sentence = (job["result"] or {}).get("sentence") or job["error"]
    print(f"  {job['state']} by {job['node']}, attempt {job['attempt']}: {sentence}")
    for key in sorted(most):
        print(f"  {key:18} idle {idle.get(key, 0.0):6.1f} MiB, at most {most[key]:6.1f} MiB")
