"""The Celery processes of a node: worker, beat, flower. `workers.serve` starts them.

Each loads only what it uses: most of our code is for workers, and costs a second of the processor.
"""

import importlib
import logging
import os
from typing import Any

from celery import Celery

from core.errors import ConfigurationError
from core.process import loading
from core.settings import Settings
from workers import app as workers_app
from workers.schedule import schedule


def _worker(app: Celery, settings: Settings) -> None:
    """Run jobs until the node is drained."""
    _load_worker().run(app, settings)


def _load_worker() -> Any:  # noqa: ANN401 - a module
    """Load the code of the tasks: here, before the fork, and so once for all processes."""
    with loading():
        importlib.import_module("workers.tasks")
        return importlib.import_module("workers.worker")


def _beat(app: Celery, settings: Settings) -> None:
    """Ring for sweeps and observations, by the clock."""
    # Observations and sweeps send no events: they would bury the jobs in Flower.
    app.conf.task_send_sent_event = False
    app.conf.beat_schedule = schedule(settings)
    app.start(
        ["--quiet", "beat", "--loglevel=INFO", f"--schedule={settings.state_dir / 'beat-schedule'}"]
    )


#: Bounds of Flower's histogram of run times (seconds): its own end at 10 s, our jobs last days.
_RUNTIME_BUCKETS = (0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86_400, 3 * 86_400)


def _flower(app: Celery, settings: Settings) -> None:
    """Show tasks to operators: with a password at every route, read-only, on its own address."""
    flower_settings = settings.vfolder.flower
    if not flower_settings.password:
        raise ConfigurationError("Set [vfolder.flower] password; Flower does not run without one.")
    # It warns for each question that no worker answers, and asks before the first worker runs.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    with loading():
        from workers import flower_login  # noqa: PLC0415 - only Flower needs tornado
    flower_login.require_login(flower_settings.user, flower_settings.password)
    os.environ["FLOWER_BASIC_AUTH"] = f"{flower_settings.user}:{flower_settings.password}"
    app.start(
        [
            "flower",
            f"--address={flower_settings.address.host}",
            f"--port={flower_settings.address.port}",
            "--read-only=True",
            "--purge-offline-workers=3600",
            "--tasks-columns=name,uuid,state,args,result,received,started,runtime,worker",
            f"--task-runtime-metric-buckets={','.join(map(str, _RUNTIME_BUCKETS))}",
            f"--url-prefix={flower_settings.path.strip('/')}",
            "--loglevel=WARNING",
        ],
    )


_PROCESSES = {"worker": _worker, "beat": _beat, "flower": _flower}


def run(name: str, settings: Settings) -> None:
    """Run the named process until a signal ends it.

    Raises:
        ConfigurationError: the configuration does not allow it to run.
    """
    _PROCESSES[name](workers_app.make(settings), settings)
