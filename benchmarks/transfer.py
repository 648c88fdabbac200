"""A transfer by one node and by two that share both volumes, each with a slow link to the source.

Two real workers; each reads the source through a file system of its own (FUSE) that takes
`MILLISECONDS` for every read, whatever the other one does: a rate per node, as a network link is.
"""

import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks._places import options
from core.jobs import State
from core.jobs.requests import TransferRequest
from core.names import VFolderId
from tests.chaos.site import VOLUME, Setup, Site
from tests.support.brittlefs import BrittleFS, Rule
from tests.support.valkey import running_valkey

#: What one read of 128 KiB takes on a node's link to the source.
MILLISECONDS = 12
DIRECTORIES = 60
FILES_PER_DIRECTORY = 4
READ_BYTES = 128 * 1024
LINK = "link"
END_SECONDS = 600.0


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=3, mib=240)
    with ExitStack() as held:
        directory = Path(held.enter_context(tempfile.TemporaryDirectory()))
        site = site_in(directory, held)
        source = planted(directory / "source", chosen.mib << 20)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(chosen.rounds):
            for nodes, times in seconds.items():
                times.append(timed(site, source, nodes))
        show(seconds, chosen.mib)


def show(seconds: dict[int, list[float]], mib: int) -> None:
    rate = READ_BYTES / MILLISECONDS * 1000 / 2**20
    print(f"{mib} MiB in {DIRECTORIES} directories, {rate:.0f} MiB/s per node and read at most")
    for nodes, times in seconds.items():
        print(f"{nodes} node(s)  {statistics.median(times):6.2f} s median of {len(times)}")
    ratios = [two / one for one, two in zip(seconds[1], seconds[2], strict=True)]
    print(
        f"two nodes take {statistics.median(ratios):.2f} of one's time, {max(ratios):.2f} at most"
    )


def site_in(directory: Path, held: ExitStack) -> Site:
    """Two nodes with one plain volume, and one that each reaches by a slow link of its own."""
    (directory / "store").mkdir()
    (directory / "source").mkdir()
    setups = {name: Setup(worker=linked(directory, name, held)) for name in ("one", "two")}
    valkey = held.enter_context(running_valkey(directory / "store"))
    site = Site(directory, valkey, 1, setups=setups)
    held.callback(site.stop)
    site.worker("one").start()
    return site


def linked(directory: Path, name: str, held: ExitStack) -> str:
    """The lines of a node's configuration about its link, which is mounted."""
    below = directory / f"link-{name}"
    below.mkdir()
    (below / "backing").symlink_to(directory / "source")
    link = BrittleFS(below)
    held.callback(link.close)
    link.rules(Rule("read", delay_seconds=MILLISECONDS / 1000))
    return f'tree-processes = 1\n[volume.{LINK}]\nbackend = "vfs"\npath = "{link.path}"\n'


def planted(top: Path, size_bytes: int) -> VFolderId:
    """A vfolder with directories of equal files."""
    vfolder = VFolderId.parse(f"user:{'1' * 32}/{'2' * 32}")
    each = size_bytes // DIRECTORIES // FILES_PER_DIRECTORY
    for number in range(DIRECTORIES):
        folder = top / vfolder.directory / f"d{number}"
        folder.mkdir(parents=True)
        for name in range(FILES_PER_DIRECTORY):
            (folder / f"f{name}").write_bytes(os.urandom(each))
    return vfolder


def timed(site: Site, source: VFolderId, nodes: int) -> float:
    """Seconds of one transfer with so many nodes up."""
    two = site.worker("two")
    if nodes == 1:
        two.stop()
    else:
        two.revive()
    site.wait_for_nodes(*("one", "two")[:nodes])
    target = site.vfolder()
    began = time.monotonic()
    request = TransferRequest(
        volume=LINK, source=str(source), target_volume=VOLUME, target=str(target)
    )
    ended = site.wait_for_end(site.submit(request), END_SECONDS)
    spent = time.monotonic() - began
    if ended.state is not State.SUCCEEDED:
        raise RuntimeError(ended.document())
    helpers = [site.store.get(str(name)) for name in site.client.zrange("vf:ix:verb:assist", 0, -1)]
    nodes_of = [one.fields.get("node") for one in helpers if ended.id in one.fields["request"]]
    print(
        f"  {spent:6.2f} s on {ended.fields['node']}, helped by {nodes_of or 'nobody'}", flush=True
    )
    return spent
