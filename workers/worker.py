"""The worker of a node: mounts proved, queues chosen, then Celery's worker with our steps."""

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
from core.process import request_end_with_parent
from core.settings import Settings
from core.telemetry import logs
from workers.node import (
    QuotaHelper,
    TreeAnswers,
    Upkeep,
    artifact_queues,
    celery_internals,
    queues_of,
)
from workers.run import DRAIN

_log = logs.logger(__name__)


def run(app: Celery, settings: Settings) -> None:
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
