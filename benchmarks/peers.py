"""Copy against the tools people use: cp, rsync, rclone, fpsync, on 20,000 small files and 2 GiB."""

import shutil
from pathlib import Path

from benchmarks._engine import copying
from benchmarks._interleave import Variant, interleave, rate, settle, table
from benchmarks._places import big_files, loop, options, small_files

TOOLS = {
    "rsync -a": "rsync -a {source}/ {target}/",
    "rclone copy": "rclone --config= copy --links --metadata --transfers 4 {source} {target}",
    "fpsync -n 2": "fpsync -n 2 -f 2000 {source}/ {target}/",
}


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=3, files=20_000, mib=2048)
    with loop("ext4", 64) as mount:
        big_files(mount / "big", 8, chosen.mib // 8 << 20)
        small_files(mount / "small", chosen.files)
        for name, unit in (
            ("small", rate(chosen.files, "files")),
            ("big", rate(chosen.mib, "MiB")),
        ):
            variants = _variants(mount / name, mount)
            interleave(variants, chosen.rounds)
            print(f"ext4, {name} files, source warm; nothing deleted between runs")
            table(variants, "ours, 2 helpers", unit)


def _variants(source: Path, mount: Path) -> list[Variant]:
    def target(name: str, number: int) -> Path:
        return mount / f"{source.name}-{name.split(maxsplit=1)[0].rstrip(',')}-{number}"

    def prepare(name: str, number: int) -> None:
        target(name, number).mkdir()
        settle(mount)

    def run(name: str, command: str, number: int) -> list[str]:
        return ["sh", "-c", command.format(source=source, target=target(name, number))]

    present = {name: text for name, text in TOOLS.items() if shutil.which(name.split()[0])}
    return [
        Variant(
            "ours, 2 helpers",
            lambda n: copying(source, target("ours", n), 2),
            lambda n: prepare("ours", n),
        ),
        Variant(
            "cp -a",
            lambda n: ["cp", "-a", f"{source}/.", str(target("cp", n))],
            lambda n: prepare("cp", n),
        ),
        *(
            Variant(
                name,
                lambda n, name=name, text=text: run(name, text, n),
                lambda n, name=name: prepare(name, n),
            )
            for name, text in present.items()
        ),
    ]
