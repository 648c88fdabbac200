"""The start of a long-lived process, without the garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import and build without collections; what exists at the end is never collected.

    Code and classes live as long as the process. Without this, Python walks through them again and
    again while it imports, in each full collection later, and twice at the end of each process:
    a third of the processor time that a door takes to start and stop. Each walk also writes to
    pages that forked processes share, so each of them gets a copy.

    Use it around the imports, and before the fork (`gc.freeze` of Python's manual advises both).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
