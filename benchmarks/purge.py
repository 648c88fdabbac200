"""Delete 20,000 small files against `rm -rf`, on fresh ext4 and xfs; copies synced before.

The time of `rm` includes the start and end of its process. Ours is printed for a process forked for
this deletion, and "warm", for a process that has deleted before, as a worker has.
"""

import subprocess
from pathlib import Path

from benchmarks._engine import removing
from benchmarks._interleave import Variant, interleave, rate, settle, table
from benchmarks._places import loop, options, small_files

NAMES = ("rm", "o0", "o0w", "o1", "o2")
#: Deletions that a process makes before it counts as warm.
WARMING = 3


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=5, files=20_000)
    for kind in (chosen.fs or "ext4,xfs").split(","):
        with loop(kind, 24) as mount:
            source = mount / "source"
            small_files(source, chosen.files)
            for name in NAMES:
                for number in range(chosen.rounds):
                    subprocess.run(["cp", "-a", source, mount / f"{name}-{number}"], check=True)
            variants = _variants(mount)
            interleave(variants, chosen.rounds)
            print(f"{kind}, {chosen.files} files")
            table(variants, "rm -rf", rate(chosen.files, "files"))


def _variants(mount: Path) -> list[Variant]:
    def prepare(_: int) -> None:
        settle(mount)

    def place(name: str, number: int) -> Path:
        return mount / f"{name}-{number}"

    return [
        Variant("rm -rf", lambda n: ["rm", "-rf", str(place("rm", n))], prepare),
        Variant("ours, as advised", lambda n: removing(place("o0", n), None), prepare),
        Variant(
            "ours, as advised, warm",
            lambda n: removing(place("o0w", n), None),
            prepare,
            lambda: _warm(mount),
        ),
        Variant("ours, 1 helper", lambda n: removing(place("o1", n), 1), prepare),
        Variant("ours, 2 helpers", lambda n: removing(place("o2", n), 2), prepare),
    ]


def _warm(mount: Path) -> None:
    for number in range(WARMING):
        tree = mount / f"warm-{number}"
        (tree / "below").mkdir(parents=True)
        removing(tree, None)()
    settle(mount)
