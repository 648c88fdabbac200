"""The contract: `contract/test_snapshots.py` on every backend here."""

from contract.test_snapshots import *  # noqa: F403 - the suite itself
