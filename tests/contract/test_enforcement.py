"""The contract: `contract/test_enforcement.py` on every backend here."""

from contract.test_enforcement import *  # noqa: F403 - the suite itself
