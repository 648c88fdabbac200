"""Zip archives of 20,000 small files against `tar -cf -`; of big files, in bytes; memory."""

import os
import resource
import subprocess
from pathlib import Path

from backends.archives import plan
from backends.archives.zips import StoredZip
from benchmarks import _doors
from benchmarks._doors import Bench, Case, measure, running, show
from benchmarks._places import big_files, options, small_files
from benchmarks.downloads import fetch
from core import tickets
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
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"  largest process of ours: {peak:.0f} MiB; server {bench.door.memory() >> 20} MiB")


def _cases(bench: Bench, name: str) -> list[Case]:
    tree = bench.files / name
    url = _archive(bench, name)
    return [
        Case("tar -cf - | cat", lambda: _tar(tree)),
        Case("zip to /dev/null", lambda: _zip(tree)),
        Case("zip by the client door", lambda: fetch(url, 1, None), bench.door),
    ]


def _archive(bench: Bench, name: str) -> str:
    ticket = tickets.ArchiveTicket(
        volume="local",
        virtual_folder_id=str(bench.vfolder),
        files=[name],
        exp=tickets.expiry(86400),
    )
    return f"{bench.door.url}/download-archive?token={tickets.issue(ticket, _doors.SECRET)}"


def _tar(tree: Path) -> None:
    command = f"tar -cf - -C {tree} . | cat >/dev/null"
    subprocess.run(["sh", "-c", command], check=True)


def _zip(tree: Path) -> None:
    top = os.open(tree, os.O_RDONLY)
    planned = plan.make(top, [plan.Source(VFolderPath(()), "")])
    with open(os.devnull, "wb", buffering=0) as sink:
        sink.writelines(StoredZip(top, planned).pieces())
    planned.close()
    os.close(top)
