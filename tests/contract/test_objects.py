"""The contract: `contract/test_objects.py` on every volume here that keeps objects."""

from contract.test_objects import *  # noqa: F403 - the suite itself
