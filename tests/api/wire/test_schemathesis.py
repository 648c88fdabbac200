"""Thousands of requests to a running door that its document allows, and that it does not allow."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings
from tests.support.doors import SECRET, RunningDoor, running_door, settings_in
from tests.support.node import ROOT
from tests.support.schemathesis_names import STORAGE, VFID_VARIABLE
from tests.support.thoroughness import times
from tests.support.trees import snapshot
from tests.support.valkey import running_valkey

CASES_MIN = times(1500, 3000)
#: Cases of chance for each operation.
EXAMPLES = times(2, 15)
#: A document cannot know what exists and what is full: those refusals are right answers.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = [
  "2xx", "304", "400", "404", "409", "412", "416", "422", "507"
]

# The events of a job that waits have no end.
[[operations]]
include-path = "/v1/jobs/{job_id}/events"
request-timeout = 1.0

# Released clients send 0 and 1 as truth values, which the document does not say.
[[operations]]
include-path-regex = "^/folder/file/(delete|delete-async|download|upload)$"
checks.negative_data_rejection.enabled = false

# Every value in a form is text: null is the name `null`.
[[operations]]
include-path-regex = "^/v1/storages/.*/upload$"
checks.negative_data_rejection.enabled = false
"""

#: A storage of models, whose routes are called, too.
SHELF = f"""
[artifact-storages.{STORAGE}]
type = "vfs_storage"
vfs-storage = {{ base-path = "shelf" }}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A store of its own: what is asked of it here stays, such as bandwidths of one byte."""
    with running_valkey(tmp_path / "valkey") as valkey:
        yield settings_in(tmp_path, valkey.url, SHELF)


@pytest.fixture
def manager(settings: Settings) -> Iterator[RunningDoor]:
    with running_door("manager", settings) as door:
        yield door


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_checks_hold(
    manager: RunningDoor, settings: Settings, vfid: str, root: Path, tmp_path: Path
) -> None:
    outside = settings.directory / "local" / "outside"
    before = snapshot(outside)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    ran = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{manager.url}/openapi.json",
            f"--header=X-BackendAI-Storage-Auth-Token:{SECRET}",
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={EXAMPLES}",
            "--seed=1",
            "--continue-on-failure",
            "--no-color",
            "--warnings=off",
            "--workers=1",
        ],
        cwd=tmp_path,
        env=os.environ
        | {
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
            "PYTHONPATH": str(ROOT),
            VFID_VARIABLE: vfid,
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2000:]
    generated = re.search(r"(\d+) generated", ran.stdout)
    assert generated
    assert int(generated[1]) >= CASES_MIN, ran.stdout
    assert snapshot(outside) == before
    for scope in (settings.directory / "local").iterdir():
        assert re.fullmatch(r"[0-9a-f]{32}|outside|\.vfolder(-volume)?|[0-9a-f]{2}", scope.name)
