"""pytest's part of `vfolder contract`: the volume of the site, and parts that may be missing."""

import os
import shutil
from collections import Counter

import pytest

from contract.fixtures import backend, fitting, quota, scope, snapshots, vfolder
from contract.site import Site, configured

__all__ = [
    "backend",
    "fitting",
    "quota",
    "scope",
    "site",
    "snapshots",
    "vfolder",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that `contract.__main__` passes on."""
    parser.addoption("--volume", required=True)
    parser.addoption("--config", required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark of tests that need a part of the machine."""
    config.addinivalue_line("markers", "part(name): needs this part")
    config.addinivalue_line("markers", "slow: takes more than ten seconds")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose part is not here, and name the part."""
    for mark in item.iter_markers("part"):
        name: str = mark.args[0]
        here = os.geteuid() == 0 if name == "root" else shutil.which(name) is not None
        if not here:
            pytest.skip("run it as root" if name == "root" else f"install {name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why tests did not run, once for each reason."""
    skipped = terminalreporter.getreports("skipped")
    reasons = Counter(str(one.longrepr[2]).removeprefix("Skipped: ") for one in skipped)
    for reason, number in sorted(reasons.items()):
        terminalreporter.line(f"{number} not run: {reason}")


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Site:
    """The volume under test."""
    return configured(request.config.getoption("--volume"), request.config.getoption("--config"))
