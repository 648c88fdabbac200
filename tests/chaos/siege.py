"""People at a whole node while its processes are killed and stopped: what they see must be right.

A person uploads a file, fills a vfolder, and has it unpacked, cloned, transferred, counted, kept as
a snapshot and restored, and deleted. Each call is repeated until the node answers it. What is wrong
goes to `wrong`, in words.
"""

import io
import os
import random
import signal
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import requests

from core.names import VFolderId
from tests.chaos.check import differences
from tests.support.node import Node

#: Longest time until a call is answered, and until a job has ended, in seconds.
ANSWER_SECONDS = 120.0
END_SECONDS = 300.0
#: Bounds of the pause between two faults, and how long a process stays stopped, in seconds. Nine
#: seconds are longer than a lease of eight.
PAUSE_SECONDS = (0.8, 2.4)
STOPPED_SECONDS = (2.0, 9.0)
#: How many of the faults stop a process; the others kill it.
STOPPED_SHARE = 0.2
UPLOAD_BYTES = 1_500_000
PIECE_BYTES = 200_000
CANCELLED_SHARE = 0.15
SEND_SECONDS = 20.0
POLL_SECONDS = 0.3
_OFFSET = {"Content-Type": "application/offset+octet-stream"}
_TUS = {"Tus-Resumable": "1.0.0"}
Answer = dict[str, Any]


class Siege:
    """One node with the volumes `local` and `other`; `other` has snapshots."""

    def __init__(self, node: Node, tops: dict[str, Path], seed: int) -> None:
        settings = node.settings
        self.manager = f"http://{settings.api.manager.address}"
        self.client = f"http://{settings.api.client.address}"
        self.secret = settings.api.manager.secret
        self.tops = tops
        self.seed = seed
        self.done: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.until = 0.0
        self._node = node

    def run(self, seconds: float, people: int) -> None:
        """Let people work for some seconds while processes die; return when all are done."""
        self.until = time.monotonic() + seconds
        threads = [threading.Thread(target=Person(self, number).run) for number in range(people)]
        threads.append(threading.Thread(target=self._attack))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def path(self, volume: str, vfolder: str) -> Path:
        """Return where a vfolder lies."""
        return self.tops[volume] / VFolderId.parse(vfolder).directory

    def _attack(self) -> None:
        dice = random.Random(self.seed)
        while time.monotonic() < self.until:
            time.sleep(dice.uniform(*PAUSE_SECONDS))
            kinds = processes(self._node.pid)
            if not kinds:  # a moment in which the supervisor starts all of them again
                continue
            kind = dice.choice(sorted(kinds))
            process = dice.choice(kinds[kind])
            stops = dice.random() < STOPPED_SHARE and kind != "redis"
            with suppress(psutil.NoSuchProcess):
                if stops:
                    process.suspend()
                    wake = threading.Timer(dice.choice(STOPPED_SECONDS), _wake, [process])
                    wake.start()
                else:
                    process.kill()
                self.faults[f"{'stop' if stops else 'kill'} {kind}"] += 1


def processes(supervisor: int) -> dict[str, list[psutil.Process]]:
    """Return the processes of a node by kind; helpers of a job are `worker helper`."""
    kinds: dict[str, list[psutil.Process]] = {}
    for top in psutil.Process(supervisor).children():
        with suppress(psutil.NoSuchProcess, IndexError):
            words = top.cmdline()
            name = "redis" if "valkey" in words[0] or "embedded" in words[-1] else words[-1]
            kinds.setdefault(name, []).append(top)
            for child in top.children():
                kinds.setdefault(f"{name} child", []).append(child)
                for helper in child.children(recursive=True):
                    kinds.setdefault(f"{name} helper", []).append(helper)
    return kinds


def _wake(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGCONT)


class GaveUp(Exception):
    """A person waits no longer."""


class Person:
    """One caller with a quota scope of its own."""

    def __init__(self, siege: Siege, number: int) -> None:
        self._siege = siege
        self._dice = random.Random(f"{siege.seed} {number}")
        self._scope = f"user:{UUID(int=self._dice.getrandbits(128))}"
        self._session = requests.Session()
        self._session.trust_env = False

    def run(self) -> None:
        """Do rounds until the siege ends."""
        try:
            for volume in self._siege.tops:
                self._call("POST", "/quota-scope", {"volume": volume, "qsid": self._scope})
            while time.monotonic() < self._siege.until:
                self._round()
        except Exception as error:  # noqa: BLE001 - a thread; the test reads what went wrong
            self._wrong(f"{type(error).__name__}: {error}")

    def _wrong(self, words: str) -> None:
        self._siege.wrong.append(words)

    def _until_answered(
        self, send: Callable[[], requests.Response], what: str
    ) -> requests.Response:
        end = time.monotonic() + ANSWER_SECONDS
        said = ""
        while time.monotonic() < end:
            try:
                answer = send()
            except requests.RequestException as error:
                said = repr(error)
            else:
                if answer.status_code < requests.codes.server_error:
                    return answer
                said = answer.text
            time.sleep(POLL_SECONDS)
        raise GaveUp(f"{what}: {said}")

    def _call(
        self, method: str, path: str, body: Answer | None = None, **headers: str
    ) -> tuple[int, Answer]:
        headers["X-BackendAI-Storage-Auth-Token"] = self._siege.secret
        url = self._siege.manager + path
        answer = self._until_answered(
            lambda: self._session.request(method, url, json=body, headers=headers, timeout=60),
            f"{method} {path}",
        )
        return answer.status_code, answer.json() if answer.content else {}

    def _fresh(self) -> str:
        return f"{self._scope}/{uuid4()}"

    def _submit(self, verb: str, volume: str = "local", **fields: object) -> str:
        body = {"verb": verb, "volume": volume, **fields}
        status, job = self._call("POST", "/v1/jobs", body, **{"Idempotency-Key": str(uuid4())})
        if status != requests.codes.accepted:
            raise GaveUp(f"{verb} is answered {status}: {job}")
        return str(job["id"])

    def _end(self, job: str) -> Answer:
        end = time.monotonic() + END_SECONDS
        while True:
            status, document = self._call("GET", f"/v1/jobs/{job}")
            if status != requests.codes.ok:
                raise GaveUp(f"the job is answered {status}: {document}")
            if document["done"]:
                break
            if time.monotonic() > end:
                raise GaveUp(f"the job does not end: {document}")
            time.sleep(POLL_SECONDS)
        self._siege.done[f"{document['verb']} {document['state']}"] += 1
        if document["state"] in ("failed", "partial"):
            self._wrong(f"{document['verb']} is {document['state']}: {document}")
        return document

    def _do(self, verb: str, volume: str = "local", **fields: object) -> Answer:
        return self._end(self._submit(verb, volume, **fields))

    def _round(self) -> None:
        source, unpacked, clone, copy = (self._fresh() for _ in range(4))
        for vfolder in (source, unpacked):
            self._call("POST", "/folder/create", {"volume": "local", "vfid": vfolder})
        self._upload(source, "an upload.bin")
        self._fill(self._siege.path("local", source))
        pack(self._siege.path("local", source), self._siege.path("local", unpacked) / "all.tar")
        jobs = {
            "extract": self._submit(
                "extract", vfolder=unpacked, source="all.tar", target="out", archive="tar"
            ),
            "clone": self._submit("clone", source=source, target=clone, verify="checksum"),
            "transfer": self._submit(
                "transfer", source=source, target=copy, target_path=".", target_volume="other"
            ),
            "usage": self._submit("usage", vfolder=source),
        }
        if self._dice.random() < CANCELLED_SHARE:
            time.sleep(self._dice.random())
            self._call("POST", f"/v1/jobs/{jobs['clone']}/cancel")
        states = {verb: self._end(job)["state"] for verb, job in jobs.items()}
        self._compare(source, "local", clone, states["clone"])
        self._compare(source, "other", copy, states["transfer"])
        self._compare(source, "local", unpacked, states["extract"], below="out")
        if states["transfer"] == "succeeded":
            self._snapshots(source, copy)
        for volume, vfolder in (("local", source), ("local", unpacked), ("local", clone)):
            self._delete(volume, vfolder)

    def _upload(self, vfolder: str, name: str) -> None:
        data = self._dice.randbytes(UPLOAD_BYTES)
        body = {"volume": "local", "vfid": vfolder, "relpath": name, "size": len(data)}
        token = self._call("POST", "/folder/file/upload", body)[1]["token"]
        url = f"{self._siege.client}/upload?token={token}"
        offset = 0
        while offset < len(data):
            piece = data[offset : offset + PIECE_BYTES]
            with suppress(requests.RequestException):  # HEAD says what has arrived
                self._session.patch(
                    url,
                    data=piece,
                    headers={**_TUS, **_OFFSET, "Upload-Offset": str(offset)},
                    timeout=SEND_SECONDS,
                )
            head = self._until_answered(
                lambda: self._session.head(url, headers=_TUS, timeout=SEND_SECONDS), "HEAD"
            )
            if head.status_code in (requests.codes.not_found, requests.codes.gone):
                break  # complete, and the record is no longer there
            offset = int(head.headers.get("Upload-Offset", offset))
        if (self._siege.path("local", vfolder) / name).read_bytes() != data:
            self._wrong("an upload differs")
        self._siege.done["upload"] += 1

    def _fill(self, top: Path) -> None:
        for number in range(self._dice.choice([50, 600])):
            folder = top / f"d{number % 7}"
            folder.mkdir(exist_ok=True)
            size = self._dice.choice([0, 100, 20_000])
            (folder / f"f{number}").write_bytes(self._dice.randbytes(size))
        (top / "link").symlink_to("d0")
        os.link(top / "d0" / "f0", top / "second name")

    def _compare(self, source: str, volume: str, target: str, state: str, below: str = ".") -> None:
        top = self._siege.path(volume, target)
        if state == "cancelled" and top.exists():
            self._wrong(f"cancelled, and there: {target}")
        if state != "succeeded":
            return
        # Directories and links of an archive get the time at which they are unpacked.
        options = [] if below == "." else ["--omit-dir-times", "--omit-link-times"]
        found = differences(self._siege.path("local", source), top / below, *options)
        if found:
            self._wrong(f"{volume} {target} differs from its source: {found}")

    def _snapshots(self, source: str, vfolder: str) -> None:
        restored = self._fresh()
        fields = {"volume": "other", "vfolder": vfolder, "name": "kept"}
        for action, more in (("create", {}), ("restore", {"target": restored}), ("delete", {})):
            ended = self._do("snapshot", action=action, **fields, **more)
            if action == "restore":
                self._compare(source, "other", restored, ended["state"])
        self._delete("other", vfolder)
        self._delete("other", restored)

    def _delete(self, volume: str, vfolder: str) -> None:
        if not self._siege.path(volume, vfolder).exists():
            return
        state = self._do("delete", volume, vfolder=vfolder, keep_seconds=0)["state"]
        if state == "succeeded" and self._siege.path(volume, vfolder).exists():
            self._wrong(f"deleted, and there: {volume} {vfolder}")


def pack(top: Path, archive: Path) -> None:
    """Write everything below a directory into a tar file."""
    with io.BytesIO() as memory:
        with tarfile.open(fileobj=memory, mode="w") as tar:
            tar.add(top, ".")
        archive.write_bytes(memory.getvalue())
