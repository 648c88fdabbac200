"""Fresh file systems on loop files, and the trees to work on."""

import argparse
import math
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: ext4 would otherwise initialise inode tables in the background, during the measurements.
EAGER = "lazy_itable_init=0,lazy_journal_init=0"
DEPTH_MAX = 10
MAKE = {
    "ext4": [
        "mkfs.ext4",
        "-q",
        "-F",
        "-i",
        "4096",
        "-J",
        "size=256",
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0",
    ],
    "xfs": ["mkfs.xfs", "-q", "-f", "-m", "reflink=1"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}


@contextmanager
def loop(kind: str, size_gib: int) -> Iterator[Path]:
    """Make a file system on a sparse file, mount it, and take it away again (root)."""
    room = Path(tempfile.mkdtemp(prefix=f"bench-{kind}-"))
    image, mount = room / "image", room / "mount"
    mount.mkdir()
    try:
        with image.open("wb") as file:
            file.truncate(size_gib * 1024**3)
        subprocess.run([*MAKE[kind], image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mount], check=True)
        try:
            yield mount
        finally:
            subprocess.run(["umount", mount], check=True)
    finally:
        shutil.rmtree(room)


def small_files(root: Path, files: int, seed: int = 1) -> int:
    """Make a tree as people have them: lognormal sizes of 4 KiB in the mean; its bytes."""
    dice = random.Random(seed)
    directories = [root]
    root.mkdir(parents=True, exist_ok=True)
    total = 0
    sigma = 1.2
    mu = math.log(4096) - sigma * sigma / 2
    block = os.urandom(1 << 20)
    for number in range(files):
        if number % 19 == 0:
            parent = dice.choice(directories[-200:])
            if len(parent.relative_to(root).parts) >= DEPTH_MAX:
                parent = root
            below = parent / f"dir{number:07d}"
            below.mkdir()
            directories.append(below)
        size = min(int(dice.lognormvariate(mu, sigma)), len(block) // 2)
        place = dice.choice(directories[-40:])
        (place / f"file{number:07d}.bin").write_bytes(block[number % 4096 :][:size])
        total += size
    return total


def big_files(root: Path, files: int, size: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        with (root / f"big{number}").open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))


def options(arguments: list[str], rounds: int, **more: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--fs", default="", help="file systems, separated by commas")
    for name, value in more.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    return parser.parse_known_args(arguments)[0]
