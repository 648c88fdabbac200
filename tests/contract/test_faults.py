"""The contract: `contract/test_faults.py` on every backend here."""

from contract.test_faults import *  # noqa: F403 - the suite itself
