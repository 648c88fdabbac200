"""Copy and verify all by sha256, against `cp -a` and one `sha256sum` pass over the copy."""

from pathlib import Path

from benchmarks._engine import copying
from benchmarks._interleave import Variant, interleave, rate, settle, table
from benchmarks._places import big_files, loop, options, small_files

PLAIN = "cp -a, then sha256sum"


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=5, files=20_000, mib=2048)
    with loop("ext4", 48) as mount:
        big_files(mount / "big", 8, chosen.mib // 8 << 20)
        small_files(mount / "small", chosen.files)
        for name, unit in (
            ("small", rate(chosen.files, "files")),
            ("big", rate(chosen.mib, "MiB")),
        ):
            variants = _variants(mount / name, mount)
            interleave(variants, chosen.rounds)
            print(f"ext4, {name} files, source warm; ours reads both trees again, or the copy")
            table(variants, PLAIN, unit)


def _variants(source: Path, mount: Path) -> list[Variant]:
    def prepare(_: int) -> None:
        if source.name == "big":  # its copies of all rounds would fill the disk
            _drop_copies(mount)
        settle(mount)

    def target(name: str, number: int) -> Path:
        return mount / f"{source.name}-{name}-{number}"

    def plain(number: int) -> list[str]:
        copy = target("cp", number)
        sums = f"find {copy} -type f -exec sha256sum {{}} +"
        return ["sh", "-c", f"cp -a {source} {copy} && {sums} > {copy}.sums"]

    return [
        Variant(PLAIN, plain, prepare),
        Variant(
            "ours, 2 helpers, verify sha256",
            lambda n: copying(source, target("o2", n), 2, verify="sha256"),
            prepare,
        ),
        *(
            Variant(
                f"ours, {digest} taken while reading",
                lambda n, digest=digest: copying(
                    source, target(f"o2d{digest}", n), 2, verify=digest, digest=digest
                ),
                prepare,
            )
            for digest in ("sha256", "xxh3")
        ),
        Variant(
            "ours, 2 helpers, verify xxh3",
            lambda n: copying(source, target("o2x", n), 2, verify="xxh3"),
            prepare,
        ),
    ]


def _drop_copies(mount: Path) -> None:
    for copy in mount.glob("big-*/"):
        for file in copy.iterdir():
            file.unlink()
    settle(mount)
