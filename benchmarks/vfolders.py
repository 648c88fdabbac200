"""Clone a sparse 10 GiB vfolder, delete one of 200,000 files: a node's jobs, on xfs and btrfs.

Goals (medians): the clone is there within 2 s; the deleted vfolder is gone from the mount and the
API within 50 ms of the request. References in the same run: `cp -a --reflink=always`, and a rename.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import requests

from benchmarks._places import loop, options
from benchmarks.quota import node_on, seconds

GIB = 1 << 30
IMAGES = 10
#: Each image has a MiB of data at every so many bytes.
STRIDE = 128 << 20
#: Directories of the vfolder that is deleted.
DIRECTORIES = 200
WAIT_SECONDS = 120.0
POLL_SECONDS = 0.0005
CLONE_GOAL_SECONDS = 2.0
DELETE_GOAL_SECONDS = 0.05


@dataclass
class Volume:
    """One volume of a running node."""

    name: str
    top: Path
    base: str
    session: requests.Session

    def call(self, route: str, **body: object) -> requests.Response:
        return self.session.post(f"{self.base}{route}", json={"volume": self.name, **body})

    def create(self) -> str:
        scope, vfid = uuid4(), uuid4().hex
        self.call("/quota-scope", qsid=f"user:{scope}").raise_for_status()
        self.call("/folder/create", vfid=f"user:{scope}/{vfid}").raise_for_status()
        return f"user:{scope}/{vfid}"

    def path(self, vfid: str) -> Path:
        scope, leaf = vfid.removeprefix("user:").split("/")
        return self.top / scope.replace("-", "") / leaf[:2] / leaf[2:4] / leaf[4:]

    def ended(self, answer: requests.Response) -> None:
        answer.raise_for_status()
        place = f"{self.base}/v1/jobs/{answer.json()['id']}"
        until(lambda: self.session.get(place).json()["state"] == "succeeded", 0.01)


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=3, files=200_000)
    with ExitStack() as stack:
        kinds = (chosen.fs or "xfs,btrfs").split(",")
        places = {kind: stack.enter_context(loop(kind, 24)) for kind in kinds}
        room = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backends = {k: ("btrfs" if k == "btrfs" else "vfs", places[k]) for k in kinds}
        node = stack.enter_context(node_on(room / "node", backends))
        manager = node.settings.api.manager
        session = requests.Session()
        session.headers["X-BackendAI-Storage-Auth-Token"] = manager.secret
        for kind in kinds:
            volume = Volume(kind, places[kind], f"http://{manager.address}", session)
            clones(volume, chosen.rounds)
            deletes(volume, chosen.rounds, chosen.files)


def clones(volume: Volume, rounds: int) -> None:
    source = volume.create()
    for number in range(IMAGES):
        with (volume.path(source) / f"{number}.img").open("wb") as file:
            for start in range(0, GIB, STRIDE):
                file.seek(start)
                file.write(os.urandom(1 << 20))
            file.truncate(GIB)
    os.sync()
    ours, reference = [], []
    for number in range(rounds):
        copy = ["cp", "-a", "--reflink=always", volume.path(source), volume.top / f"cp{number}"]
        reference.append(seconds(lambda command=copy: subprocess.run(command, check=True)))
        target = f"user:{uuid4()}/{uuid4().hex}"
        body = {
            "src_volume": volume.name,
            "src_vfid": source,
            "dst_volume": volume.name,
            "dst_vfid": target,
        }
        ours.append(seconds(lambda body=body: cloned(volume, body)))
        if sum(p.stat().st_size for p in volume.path(target).iterdir()) != IMAGES * GIB:
            raise SystemExit("the clone is not whole")
    show(f"{volume.name}: clone of {IMAGES} GiB, sparse", ours, reference, CLONE_GOAL_SECONDS)


def cloned(volume: Volume, body: dict[str, str]) -> None:
    answer = volume.session.post(f"{volume.base}/folder/clone", json=body)
    target = volume.path(body["dst_vfid"])
    until(target.exists)
    volume.ended(answer)


def deletes(volume: Volume, rounds: int, files: int) -> None:
    ours, reference, known = [], [], []
    for _ in range(rounds):
        vfid = volume.create()
        top = volume.path(vfid)
        for directory in range(DIRECTORIES):
            below = top / f"{directory}"
            below.mkdir()
            for number in range(files // DIRECTORIES):
                os.close(os.open(below / f"{number}", os.O_CREAT | os.O_WRONLY))
        os.sync()
        aside = top.with_name("aside")
        reference.append(seconds(lambda top=top, aside=aside: top.rename(aside)))
        aside.rename(top)
        began = time.perf_counter()
        answer = volume.call("/folder/delete", vfid=vfid)
        until(lambda top=top: not top.exists())
        ours.append(time.perf_counter() - began)
        listed = volume.call("/folder/file/list", vfid=vfid, relpath=".")
        known.append(time.perf_counter() - began)
        if listed.status_code != requests.codes.not_found:
            raise SystemExit(f"the API still knows it: {listed.text}")
        volume.ended(answer)
    goal = DELETE_GOAL_SECONDS
    show(f"{volume.name}: delete of {files:,} files, on the mount", ours, reference, goal)
    show(f"{volume.name}: delete of {files:,} files, in the API", known, reference, goal)


def until(holds: Callable[[], bool], rest: float = POLL_SECONDS) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("it never came true")
        time.sleep(rest)


def show(what: str, ours: list[float], reference: list[float], goal: float) -> None:
    median = statistics.median(ours)
    print(
        f"{what:46} median {median * 1e3:8.1f} ms  worst {max(ours) * 1e3:8.1f} ms"
        f"  reference {statistics.median(reference) * 1e3:8.1f} ms"
        f"  {'goal met' if median <= goal else 'SLOWER'}",
        flush=True,
    )
