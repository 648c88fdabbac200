"""File systems on loop files, for as long as a test needs them (root)."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def run(*command: str | Path, **kwargs: object) -> str:
    """Return the output of a tool; raise with its message when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def mounted(
    directory: Path, make: list[str], *, size_bytes: int, options: str = "loop"
) -> Iterator[Path]:
    """A mounted file system, created by `make` on a sparse file; removed at the end."""
    image, top = directory / "image", directory / "top"
    top.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(size_bytes)
    run(*make, image)
    run("mount", "-o", options, image, top)
    try:
        yield top
    finally:
        run("umount", "-l", top)
        image.unlink()
