"""How much of the same a test does: little in each run, all of it by `make thorough`."""

import os

#: Set by `make thorough`.
THOROUGH = os.environ.get("THOROUGH") == "1"


def times(usual: int, thorough: int) -> int:
    """Return how often a test does what it repeats with chance: faults, examples, clients.

    The usual number still meets each kind. A kind of its own is a case, and is always tried.
    """
    return thorough if THOROUGH else usual
