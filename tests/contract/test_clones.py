"""The contract: `contract/test_clones.py` on every backend here."""

from contract.test_clones import *  # noqa: F403 - the suite itself
