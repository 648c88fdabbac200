"""Transfers to and from a bucket, and its listing, against rclone and s5cmd: small and big objects.

The server is a real SeaweedFS on loopback. Ours is a job as a worker's process runs it, from its
claim to its end. What it fetches is on disk then, so the tools are followed by sync(1) there.
`--tool DIRECTORY` is where s5cmd is, when it is not in the path. `--listed N` lists N objects.
"""

import os
import shlex
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from celery.exceptions import Ignore

from backends.systems.s3 import Bucket
from backends.volumes import Volumes
from benchmarks._interleave import Variant, interleave, rate, table
from benchmarks._places import options
from core.jobs import State
from core.jobs.requests import parse
from core.jobs.store import JobStore, Submission
from core.names import QuotaScope, ScopeKind, VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import mark, settings_in
from tests.support.object_storage import (
    ACCESS_KEY,
    SECRET_KEY,
    ObjectStorage,
    running_object_storage,
)
from tests.support.valkey import Valkey, running_valkey
from workers.runner import JobFailed, Runner

_SMALL_BYTES = 4096
_PER_DIRECTORY = 200
_BIG_FILES = 4
#: Objects that are put beside each other, before they are listed.
_BESIDE = 16
_MIB = 1 << 20
_SCOPE = QuotaScope(ScopeKind.USER, UUID(int=1))


@dataclass(frozen=True)
class Site:
    """A bucket and a directory as volumes, and what runs their jobs."""

    settings: Settings
    storage: ObjectStorage
    bucket: Bucket
    room: Path

    def new_vfolder(self, volume: str, *, made: bool = True) -> VFolderId:
        vfolder = VFolderId(_SCOPE, uuid4())
        backend = Volumes(self.settings).get(volume)
        with suppress(Exception):
            backend.create_scope(_SCOPE)
        if made:
            backend.create_vfolder(vfolder)
        return vfolder

    def transfer(self, source: str, target: str, read: VFolderId, write: VFolderId) -> None:
        """Run a transfer of a complete vfolder as a worker does."""
        store = JobStore(connect(self.settings, Database.JOBS), lambda _: None)
        request = {"verb": "transfer", "volume": source, "target_volume": target}
        request |= {"source": str(read), "target": str(write), "verify": "none"}
        job = store.submit(Submission(parse(request)))
        with suppress(Ignore, JobFailed):
            Runner(self.settings, store, lambda _: None)(job.id, lambda _: None)
        ended = store.get(job.id)
        if ended.state is not State.SUCCEEDED:
            raise SystemExit(f"a transfer failed: {ended.document()}")


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=3, files=2000, mib=512, listed=10_000, tool="")
    with ExitStack() as held:
        room = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="bench-objects-")))
        storage = held.enter_context(running_object_storage(_made(room / "storage")))
        valkey = held.enter_context(running_valkey(_made(room / "store")))
        site = _site(room, storage, valkey)
        for name, number, size in (
            ("small", chosen.files, _SMALL_BYTES),
            ("big", _BIG_FILES, chosen.mib * _MIB // _BIG_FILES),
        ):
            if not number or not size:
                continue
            source = site.new_vfolder("local")
            _fill(Volumes(site.settings).get("local").vfolder_path(source), number, size)
            unit = rate(number, "files") if name == "small" else rate(number * size / _MIB, "MiB")
            for way in ("up", "down"):
                variants = _variants(site, source, way, chosen.tool)
                interleave(variants, chosen.rounds)
                print(f"{name} files {way}: {number} of {size:,} bytes")
                _show(variants, unit)
        if chosen.listed:
            variants = _listings(site, chosen.listed, chosen.tool)
            interleave(variants, chosen.rounds)
            print(f"listing of {chosen.listed} objects")
            _show(variants, rate(chosen.listed, "objects"))


def _show(variants: list[Variant], unit: Callable[[float], str]) -> None:
    """Print the table, and our peak memory: that of a tool is that of its start by this process."""
    table(variants, "ours", unit)
    peak = max(sample.peak_kib for sample in variants[0].samples) / 1024
    print(f"  peak memory of ours: {peak:,.0f} MiB")


def _listings(site: Site, number: int, tool: str) -> list[Variant]:
    """Put empty objects, and return what lists them."""
    prefix = f"listed/{uuid4().hex}"
    with ThreadPoolExecutor(_BESIDE) as threads:
        deque(threads.map(lambda n: site.bucket.put(f"{prefix}/{n:07}", b""), range(number)), 0)

    def ours() -> None:
        found = sum(1 for _ in site.bucket.walk(f"{prefix}/", ahead=True))
        if found != number:
            raise SystemExit(f"{found} of {number} objects are listed")

    path = f"{site.bucket.name}/{prefix}"
    remote = f":s3,provider=Other,env_auth,endpoint='{site.storage.url}':{path}"
    commands = {"rclone": ["rclone", "--config=", "lsf", "-R", "--fast-list", remote]}
    program = shutil.which("s5cmd", path=f"{tool}:{os.environ['PATH']}") or "s5cmd"
    commands["s5cmd"] = [program, "--endpoint-url", site.storage.url, "ls", f"s3://{path}/*"]
    return [
        Variant("ours", lambda _: ours, warm=site.bucket.check),
        *(
            Variant(name, lambda _, words=words: words)
            for name, words in commands.items()
            if name in _commands(site, tool)
        ),
    ]


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _site(room: Path, storage: ObjectStorage, valkey: Valkey) -> Site:
    bucket = storage.new_bucket()
    more = f"""
[volume.objects]
backend = "s3"
path = "{_made(room / "records")}"
[volume.objects.options]
endpoint = "{storage.url}"
bucket = "{bucket.name}"
access_key = "{ACCESS_KEY}"
secret_key = "{SECRET_KEY}"
"""
    settings = settings_in(_made(room / "node"), valkey.url, more)
    mark(settings, {"objects": room / "records"})
    return Site(settings, storage, bucket, room)


def _fill(top: Path, number: int, size: int) -> None:
    for n in range(number):
        path = top / f"{n // _PER_DIRECTORY:04}" / f"{n:06}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(min(size, _MIB)) * max(1, size // _MIB))


def _variants(site: Site, source: VFolderId, way: str, tool: str) -> list[Variant]:
    top = Volumes(site.settings).get("local").vfolder_path(source)
    tools = _commands(site, tool)
    if way == "down":
        site.transfer("local", "objects", source, sent := site.new_vfolder("objects", made=False))
        prefix = next(iter(site.bucket.walk(f"{_SCOPE.directory}/{sent.directory.parts[1]}"))).key
        prefix = "/".join(prefix.split("/")[: len(sent.directory.parts)])

        def ours(_: int) -> Callable[[], object]:
            return lambda: site.transfer(
                "objects", "local", sent, site.new_vfolder("local", made=False)
            )

        def command(name: str, number: int) -> list[str]:
            target = site.room / f"{name.replace(' ', '-')}-{uuid4().hex}-{number}"
            fetch = tools[name](f"{site.bucket.name}/{prefix}", str(target), down=True)
            return ["sh", "-c", f"{shlex.join(fetch)} && sync -f {target}"]

    else:

        def ours(_: int) -> Callable[[], object]:
            return lambda: site.transfer(
                "local", "objects", source, site.new_vfolder("objects", made=False)
            )

        def command(name: str, number: int) -> list[str]:
            target = f"{site.bucket.name}/tools/{uuid4().hex}-{number}"
            return tools[name](target, str(top), down=False)

    mine = Variant("ours", ours, warm=lambda: _warm(site))
    return [
        mine,
        *(Variant(name, lambda n, name=name: command(name, n)) for name in tools),
    ]


def _warm(site: Site) -> None:
    """Load and connect what a worker's process has loaded before."""
    one, sent = site.new_vfolder("local"), site.new_vfolder("objects", made=False)
    (Volumes(site.settings).get("local").vfolder_path(one) / "file").write_bytes(b"1")
    site.transfer("local", "objects", one, sent)
    site.transfer("objects", "local", sent, site.new_vfolder("local", made=False))


def _commands(site: Site, tool: str) -> dict[str, Callable[..., list[str]]]:
    """Return the tools that are here; each makes a command of a bucket's path and a directory."""
    found: dict[str, Callable[..., list[str]]] = {}
    os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"] = ACCESS_KEY, SECRET_KEY
    os.environ["AWS_REGION"] = "us-east-1"
    os.environ.pop("AWS_CA_BUNDLE", None)  # rclone takes none
    url = site.storage.url

    def rclone(more: list[str]) -> Callable[..., list[str]]:
        def command(path: str, directory: str, *, down: bool) -> list[str]:
            remote = f":s3,provider=Other,env_auth,endpoint='{url}':{path}"
            sides = [remote, directory] if down else [directory, remote]
            return ["rclone", "--config=", "copy", "-q", "--s3-no-check-bucket", *more, *sides]

        return command

    def s5cmd(path: str, directory: str, *, down: bool) -> list[str]:
        sides = [f"s3://{path}/*", f"{directory}/"] if down else [f"{directory}/", f"s3://{path}/"]
        return [program or "s5cmd", "--endpoint-url", url, "--log", "error", "cp", *sides]

    if shutil.which("rclone"):
        found["rclone"] = rclone([])
        found["rclone 16"] = rclone(["--transfers", "16", "--checkers", "16"])
    program = shutil.which("s5cmd", path=f"{tool}:{os.environ['PATH']}")
    if program:
        found["s5cmd"] = s5cmd
    return found
