"""Copy 20,000 small files against `cp -a`, on fresh ext4 and xfs, source in the page cache."""

from pathlib import Path

from benchmarks._engine import copying
from benchmarks._interleave import Variant, interleave, rate, settle, table
from benchmarks._places import loop, options, small_files


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=5, files=20_000)
    for kind in (chosen.fs or "ext4,xfs").split(","):
        with loop(kind, 24) as mount:
            source = mount / "source"
            small_files(source, chosen.files)
            variants = _variants(source, mount)
            interleave(variants, chosen.rounds)
            print(f"{kind}, {chosen.files} files; nothing deleted between runs")
            table(variants, "cp -a", rate(chosen.files, "files"))
            table(variants, "cp -a, then sync", rate(chosen.files, "files"))


def _variants(source: Path, mount: Path) -> list[Variant]:
    def prepare(_: int) -> None:
        settle(mount)

    def target(name: str, number: int) -> Path:
        return mount / f"{name}-{number}"

    cp = f"cp -a {source}"
    return [
        Variant("cp -a", lambda n: ["sh", "-c", f"{cp} {target('cp', n)}"], prepare),
        Variant(
            "cp -a, then sync",
            lambda n: ["sh", "-c", f"{cp} {target('cps', n)} && sync -f {mount}"],
            prepare,
        ),
        Variant("ours, 1 helper", lambda n: copying(source, target("o1", n), 1), prepare),
        Variant("ours, 2 helpers", lambda n: copying(source, target("o2", n), 2), prepare),
        Variant(
            "ours, 2 helpers, durable",
            lambda n: copying(source, target("o2d", n), 2, durable=True),
            prepare,
        ),
    ]
