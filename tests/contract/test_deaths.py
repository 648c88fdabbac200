"""The contract: `contract/test_deaths.py` on every backend here."""

from contract.test_deaths import *  # noqa: F403 - the suite itself
