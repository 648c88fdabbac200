"""Archives of 20,000 small files against `tar -cf -`; of big files, in bytes; packed; memory."""

import os
import resource
import shutil
import subprocess
from functools import partial
from pathlib import Path

from backends.archives import FORMATS, Deviations, plan
from benchmarks import _doors
from benchmarks._doors import Bench, Case, measure, running, show
from benchmarks._places import big_files, options, small_files
from benchmarks.downloads import fetch
from core.access import tickets
from core.names import VFolderPath


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=5, files=20_000, mib=1024)
    with running(nginx=False) as bench:
        total = small_files(bench.files / "small", chosen.files) / 1024**2
        big_files(bench.files / "big", 2, chosen.mib << 19)
        for name, amount in (("small", total), ("big", chosen.mib)):
            cases = _cases(bench, name)
            measure(cases, chosen.rounds)
            show(f"{name}: {amount:.0f} MiB", cases, amount, "MiB")
        packed = library(bench.files / "library") / 1024**2
        cases = _packed_cases(bench, "library")
        measure(cases, chosen.rounds)
        show(f"packed, Python's library: {packed:.0f} MiB", cases, packed, "MiB")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"  largest process of ours: {peak:.0f} MiB; server {bench.door.memory() >> 20} MiB")


def library(to: Path) -> int:
    """A tree that can be packed: the interpreter's own library, sources and bytecode; its bytes."""
    ignored = shutil.ignore_patterns("site-packages", "dist-packages")
    shutil.copytree(Path(os.__file__).parent, to, ignore=ignored, symlinks=True)
    return sum(path.lstat().st_size for path in to.rglob("*") if path.is_file())


def _cases(bench: Bench, name: str) -> list[Case]:
    tree = bench.files / name
    url = archive(bench, name)
    return [
        Case("tar -cf - | cat", lambda: _tar(tree)),
        *(Case(f"{form} to /dev/null", partial(_pack, tree, form)) for form in ("zip", "tar")),
        *(
            Case(
                f"{form} by the client door",
                partial(fetch, f"{url}&format={form}", 1, None),
                bench.door,
            )
            for form in ("zip", "tar")
        ),
    ]


def _packed_cases(bench: Bench, name: str) -> list[Case]:
    tree = bench.files / name
    url = archive(bench, name)
    return [
        Case("tar -cf - | gzip -1 | cat", lambda: _tar(tree, "gzip -1 |")),
        *(
            Case(
                f"{form} by the client door",
                partial(fetch, f"{url}&format={form}", 1, None),
                bench.door,
            )
            for form in ("zip-deflate", "tar.gz")
        ),
    ]


def archive(bench: Bench, name: str) -> str:
    """The URL of an archive of a directory."""
    ticket = tickets.ArchiveTicket(
        volume="local",
        virtual_folder_id=str(bench.vfolder),
        files=[name],
        exp=tickets.expiry(86400),
    )
    return f"{bench.door.url}/download-archive?token={tickets.issue(ticket, _doors.SECRET)}"


def _tar(tree: Path, packer: str = "") -> None:
    command = f"tar -cf - -C {tree} . | {packer} cat >/dev/null"
    subprocess.run(["sh", "-c", command], check=True)


def _pack(tree: Path, name: str) -> None:
    form = FORMATS[name]
    top = os.open(tree, os.O_RDONLY)
    planned = plan.make(top, [plan.Source(VFolderPath(()), "")], hard_links=form.hard_links)
    with open(os.devnull, "wb", buffering=0) as sink:
        for piece in form.make(top, planned, Deviations()).pieces():
            if isinstance(piece, bytes):
                sink.write(piece)
            else:
                os.sendfile(sink.fileno(), piece.descriptor, piece.start, piece.length)
    planned.close()
    os.close(top)
