"""Beat and Flower start quickly: they load the names of the tasks, not their code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import CONFIG_VARIABLE
from tests.support.doors import settings_in
from tests.support.node import ROOT

#: What only runs of jobs, doors or terminals need.
SLOW = {"backends.tree", "backends.volumes", "boto3", "botocore", "flask", "requests", "rich"}
PROGRAM = """
import sys
from core.settings import load
from workers import processes
app = processes.workers_app.make(load())
{more}
print(*sorted(app.tasks), file=sys.stdout)
print(*sys.modules, file=sys.stderr)
"""


def loads(directory: Path, more: str = "") -> tuple[set[str], set[str]]:
    """Return the tasks and the modules of a process that has made the app of Celery."""
    settings = settings_in(directory)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(more=more)],
        cwd=ROOT,
        env=os.environ | {CONFIG_VARIABLE: settings.origin},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split()), set(done.stderr.split())


@pytest.mark.parametrize("more", ["import celery.apps.beat", "import workers.flower_login"])
def test_beat_and_flower_load_no_code_of_tasks(tmp_path: Path, more: str) -> None:
    tasks, modules = loads(tmp_path, more)
    assert {"storage.clone", "storage.sweep", "storage.observe"} <= tasks
    assert modules & SLOW == set()
    assert {name for name in modules if name.startswith("workers.")} <= {
        "workers.app",
        "workers.flower_login",
        "workers.processes",
        "workers.schedule",
    }


def test_a_worker_has_the_code_of_its_tasks_before_it_forks(tmp_path: Path) -> None:
    more = "processes._load_worker()"
    tasks, modules = loads(tmp_path, more)
    assert "storage.clone" in tasks
    assert {"workers.tasks", "workers.runner", "backends.tree"} <= modules
