"""The contract: `contract/test_scopes.py` on every backend here."""

from contract.test_scopes import *  # noqa: F403 - the suite itself
