import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.tree.trees import Opener


@pytest.fixture
def anchor() -> Iterator[Opener]:
    """Opens directories as callers of the engine do, and closes them."""
    with ExitStack() as stack:

        def opened(path: Path) -> int:
            path.mkdir(exist_ok=True)
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, fd)
            return fd

        yield opened
