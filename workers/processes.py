"""The Celery processes of a node: worker, beat, flower. `workers.serve` starts them."""

import importlib
import logging
import os
import signal
import warnings
from functools import partial
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_process_init, worker_shutting_down

from backends.volumes import Mounts, close_inherited
from backends.volumes.artifacts import ArtifactStorages
from core.errors import ConfigurationError
from core.process import request_end_with_parent
from core.settings import Settings
from core.telemetry import logs
from workers import app as workers_app
from workers.node import (
    QuotaHelper,
    TreeAnswers,
    Upkeep,
    artifact_queues,
    celery_internals,
    performance,
    queues_of,
    schedule,
)
from workers.run import DRAIN

_log = logs.logger(__name__)


def worker(app: Celery, settings: Settings) -> None:
    """Prove the mounts, choose the queues, and run until the node is drained."""
    node = settings.storage_proxy.node_id
    celery_internals.silence_shutdown_messages()
    ArtifactStorages(settings).begin()
    mounts = Mounts(settings)
    mounts.start()
    volumes = mounts.volumes()
    for name, volume in volumes.items():
        record = _log.info if volume.proven else _log.warning
        record("volume probed", volume=name, proven=volume.proven, reason=volume.reason)
    proven = [name for name, volume in volumes.items() if volume.proven]
    Upkeep.settings, Upkeep.mounts = settings, mounts
    app.steps["worker"].add(Upkeep)
    QuotaHelper.settings = settings
    app.steps["worker"].add(QuotaHelper)
    TreeAnswers.settings = settings
    app.steps["worker"].add(TreeAnswers)
    worker_shutting_down.connect(_drain, weak=False)
    worker_process_init.connect(partial(_child_started, os.getpid()), weak=False)
    # Celery warns of root. Only root can keep owners and modes of files, and it is root on purpose.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app.worker_main(
        [
            "--quiet",  # no banner: the log has the facts
            "worker",
            "--pool=prefork",
            f"--concurrency={settings.vfolder.worker.concurrency}",
            f"--hostname={node}@%h",
            f"--queues={','.join(queues_of([*proven, *artifact_queues(settings)], node))}",
            "--without-gossip",
            "--without-mingle",
            "--task-events",
            "--loglevel=INFO",
        ],
    )


def _drain(**_facts: Any) -> None:  # noqa: ANN401 - Celery passes facts to a signal
    DRAIN.begin()
    _log.info("drain begun")


def _child_started(main: int, **_facts: Any) -> None:  # noqa: ANN401 - Celery passes facts
    # An idle child waits on a pipe whose other end its siblings hold: it never sees a dead parent.
    request_end_with_parent()
    if os.getppid() != main:  # it died before the kernel had the request
        os._exit(1)
    logs.configure("worker", Upkeep.settings.log_level)
    close_inherited(Upkeep.settings)
    # Only the main process acts on SIGHUP (workers.run.node_signals).
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    celery_internals.shorten_last_result_wait()


def beat(app: Celery, settings: Settings) -> None:
    """Ring for sweeps and observations, by the clock."""
    # Observations and sweeps send no events: they would bury the jobs in Flower.
    app.conf.task_send_sent_event = False
    app.conf.beat_schedule = schedule(settings) | performance.schedule(settings)
    app.start(
        ["--quiet", "beat", "--loglevel=INFO", f"--schedule={settings.state_dir / 'beat-schedule'}"]
    )


#: Bounds of Flower's histogram of run times (seconds): its own end at 10 s, our jobs last days.
_RUNTIME_BUCKETS = (0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86_400, 3 * 86_400)


def flower(app: Celery, settings: Settings) -> None:
    """Show tasks to operators: with a password at every route, read-only, on its own address."""
    flower_settings = settings.vfolder.flower
    if not flower_settings.password:
        raise ConfigurationError("Set [vfolder.flower] password; Flower does not run without one.")
    # It warns for each question that no worker answers, and asks before the first worker runs.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    flower_login = importlib.import_module("workers.node.flower_login")  # only Flower needs tornado
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


_PROCESSES = {"worker": worker, "beat": beat, "flower": flower}


def run(name: str, settings: Settings) -> None:
    """Run the named process until a signal ends it.

    Raises:
        ConfigurationError: the configuration does not allow it to run.
    """
    _PROCESSES[name](workers_app.make(settings), settings)
