"""Copy 2 GiB in 8 files against `cp -a`: ext4 by bytes, xfs and btrfs by reflink; warm source.

A reflink of 8 files takes less than starting a process. The time of `cp` includes its start and
end, as every caller pays for them. Ours is printed twice: with a process forked for this copy, and
"warm", in a process that has copied before, as a worker has. Neither syncs.
"""

import shutil
from pathlib import Path

from benchmarks._engine import copying
from benchmarks._interleave import Variant, interleave, rate, settle, table
from benchmarks._places import big_files, loop, options

FILES = 8
#: Copies that a process makes before it counts as warm.
WARMING = 3


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=5, mib=256)
    for kind in (chosen.fs or "ext4,xfs,btrfs").split(","):
        with loop(kind, 48) as mount:
            source = mount / "source"
            big_files(source, FILES, chosen.mib << 20)
            name = "cp -a" if kind == "ext4" else "cp -a --reflink=always"
            variants = _variants(source, mount, name)
            interleave(variants, chosen.rounds)
            print(f"{kind}, {FILES} files of {chosen.mib} MiB")
            table(variants, name, rate(FILES * chosen.mib, "MiB"))


def _variants(source: Path, mount: Path, cp: str) -> list[Variant]:
    def prepare(_: int) -> None:
        settle(mount)
        for old in mount.glob("copy-*"):
            for file in old.iterdir():
                file.unlink()
        settle(mount)

    def target(name: str, number: int) -> Path:
        return mount / f"copy-{name}-{number}"

    return [
        Variant(cp, lambda n: [*cp.split(), str(source), str(target("cp", n))], prepare),
        Variant("ours, 1 helper", lambda n: copying(source, target("o1", n), 1), prepare),
        Variant("ours, 2 helpers", lambda n: copying(source, target("o2", n), 2), prepare),
        Variant(
            "ours, 2 helpers, warm",
            lambda n: copying(source, target("o2w", n), 2),
            prepare,
            lambda: _warm(source, mount),
        ),
    ]


def _warm(source: Path, mount: Path) -> None:
    for number in range(WARMING):
        target = mount / f"copy-warm-{number}"
        copying(source, target, 2)()
        shutil.rmtree(target)
    settle(mount)
