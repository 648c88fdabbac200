"""Measure a tree of 200,000 files against `du -s`, with caches warm and with caches dropped."""

from pathlib import Path

from benchmarks._engine import measuring
from benchmarks._interleave import Variant, forget_caches, interleave, rate, table
from benchmarks._places import loop, options, small_files


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=5, files=200_000)
    for kind in (chosen.fs or "ext4").split(","):
        with loop(kind, 16) as mount:
            source = mount / "source"
            small_files(source, chosen.files)
            for cold in (False, True):
                variants = _variants(source, cold=cold)
                if not cold:
                    interleave(variants, 1)
                    for variant in variants:
                        variant.samples.clear()
                interleave(variants, chosen.rounds)
                print(f"{kind}, {chosen.files} files, caches {'dropped' if cold else 'warm'}")
                table(variants, "du -s", rate(chosen.files, "files"))


def _variants(source: Path, *, cold: bool) -> list[Variant]:
    def prepare(_: int) -> None:
        if cold:
            forget_caches()

    return [
        Variant("du -s", lambda _: ["du", "-s", str(source)], prepare),
        *(
            Variant(f"ours, {count} helpers", lambda _, n=count: measuring(source, n), prepare)
            for count in (1, 2, 4)
        ),
    ]
