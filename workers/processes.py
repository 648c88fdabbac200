"""The Celery processes of a node: worker, beat, flower. `workers.serve` starts them."""

import os
import signal
import sys
import warnings
from typing import Any

import billiard.pool
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_process_init, worker_shutting_down

from backends.volumes import Mounts
from core.errors import ConfigurationError
from core.settings import Settings
from core.telemetry import logs
from workers import app as workers_app
from workers.node import QuotaHelper, Upkeep, performance, queues_of, schedule
from workers.run import DRAIN

_log = logs.logger(__name__)
#: How often a leaving child looks whether its last result was read, every 0.1 s.
LAST_RESULT_TRIES = 10


def worker(app: Celery, settings: Settings) -> None:
    """Prove the mounts, choose the queues, run until drained."""
    node = settings.storage_proxy.node_id
    sys.__stdout__ = None  # type: ignore[misc] # where Celery says goodbye, past the logs
    mounts = Mounts(settings)
    mounts.start()
    found = mounts.volumes()
    for name, volume in found.items():
        _log.info("volume probed", volume=name, proven=volume.proven, reason=volume.reason)
    proven = [name for name, volume in found.items() if volume.proven]
    Upkeep.settings, Upkeep.mounts = settings, mounts
    app.steps["worker"].add(Upkeep)
    QuotaHelper.settings = settings
    app.steps["worker"].add(QuotaHelper)
    worker_shutting_down.connect(_drain, weak=False)
    worker_process_init.connect(_child_started, weak=False)
    # Owners and modes of files are kept, which only root can: it is root on purpose.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app.worker_main(
        [
            "--quiet",  # no banner: the log says what matters
            "worker",
            "--pool=prefork",
            f"--concurrency={settings.vfolder.worker.concurrency}",
            f"--hostname={node}@%h",
            f"--queues={','.join(queues_of(proven, node))}",
            "--without-gossip",
            "--without-mingle",
            "--task-events",
            "--loglevel=INFO",
        ],
    )


def _drain(**_facts: Any) -> None:  # noqa: ANN401 - what Celery passes to a signal
    DRAIN.begin()
    _log.info("drain begun")


def _child_started(**_facts: Any) -> None:  # noqa: ANN401 - what Celery passes to a signal
    logs.configure("worker", Upkeep.settings.logging.get("level", logs.DEFAULT_LEVEL))
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # the main process's business (workers.run.node_signals)
    # At a drain the main process may stop reading before a child's last result: the child would
    # wait 30 s for it. Nobody needs that result: the job's record has the truth.
    billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = LAST_RESULT_TRIES


def beat(app: Celery, settings: Settings) -> None:
    """Ring for the sweeps, by the clock."""
    app.conf.beat_schedule = schedule(settings) | performance.schedule(settings)
    app.start(
        ["--quiet", "beat", "--loglevel=INFO", f"--schedule={settings.state_dir / 'beat-schedule'}"]
    )


def flower(app: Celery, settings: Settings) -> None:
    """The operators' view: behind a password, read-only, on its own address."""
    own = settings.vfolder.flower
    if not own.password:
        raise ConfigurationError("Set [vfolder.flower] password; Flower does not run without one.")
    os.environ["FLOWER_BASIC_AUTH"] = f"{own.user}:{own.password}"
    app.start(
        [
            "flower",
            f"--address={own.address.host}",
            f"--port={own.address.port}",
            "--read-only=True",
            "--purge-offline-workers=3600",
            "--tasks-columns=name,uuid,state,args,result,received,started,runtime,worker",
            "--loglevel=WARNING",
        ],
    )


_PROCESSES = {"worker": worker, "beat": beat, "flower": flower}


def run(name: str, settings: Settings) -> None:
    """Be the named process until it is told to end.

    Raises:
        ConfigurationError: it cannot run as it is configured.
    """
    _PROCESSES[name](workers_app.make(settings), settings)
