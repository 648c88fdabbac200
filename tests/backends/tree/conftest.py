import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.trees import Opener


@pytest.fixture
def anchor() -> Iterator[Opener]:
    """Return a function that opens directories as callers do; they are closed after the test."""
    with ExitStack() as stack:

        def opened(path: Path) -> int:
            path.mkdir(exist_ok=True)
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, fd)
            return fd

        yield opened


@pytest.fixture
def untyped(tmp_path: Path) -> Iterator[Path]:
    """An ext4 whose directories do not contain the types of entries (DT_UNKNOWN)."""
    image, place = tmp_path / "image", tmp_path / "untyped"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^filetype", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)
