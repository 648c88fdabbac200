"""The contract: `contract/test_vfolders.py` on every backend here."""

from contract.test_vfolders import *  # noqa: F403 - the suite itself
