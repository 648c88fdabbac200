"""What we use of Celery's and billiard's internals still is as it was read: docs/dependencies.md.

SIGHUP at a real worker is in tests/cluster/test_reload.py.
"""

import inspect
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import billiard.pool
import pytest
from celery import Celery
from celery.apps import worker as celery_worker
from celery.worker import components

from core.settings import load
from tests.support.doors import SECRET, TICKET_SECRET, settings_in
from tests.support.node import ROOT
from workers.app import make
from workers.node import Upkeep, celery_internals
from workers.node.privileged_quota import QuotaHelper

#: Where these differ, read the functions of `workers/node/celery_internals.py` again.
READ_AT = {"celery": "5.7", "billiard": "4.3", "kombu": "5.7"}
PASSWORD = "s3cr3t-word"
INTERVAL = "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL"
LIMIT = "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT"


@pytest.mark.parametrize("library", READ_AT)
def test_the_version_is_the_one_that_was_read(library: str) -> None:
    assert version(library).startswith(f"{READ_AT[library]}.")


@pytest.mark.parametrize(
    "store",
    [
        f'[vfolder.redis]\nurl = "redis://:{PASSWORD}@127.0.0.1:1"',
        (
            f'[vfolder.redis]\nsentinel = "a.example:1,b.example:2"\nservice-name = "m"\n'
            f'password = "{PASSWORD}"\nsentinel-password = "{PASSWORD}"'
        ),
        f'[vfolder.jobs]\nbroker = "amqp://me:{PASSWORD}@127.0.0.1:1//"',
    ],
    ids=["redis", "sentinel", "rabbitmq"],
)
def test_flower_shows_no_password_of_the_settings(tmp_path: Path, store: str) -> None:
    """What a worker answers to `inspect conf`, which is Flower's tab of its configuration."""
    settings = settings_in(tmp_path)
    path = Path(settings.origin)
    path.write_text(f"{path.read_text().partition('[vfolder.redis]')[0]}\n{store}\n")
    shown = make(load(path, environ={})).conf.table(with_defaults=True, censored=True)
    assert len(shown) > 100
    for secret in (PASSWORD, SECRET, TICKET_SECRET):
        assert secret not in repr(shown)


def test_a_child_gives_up_waiting_for_its_last_result(monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Any = billiard.pool
    assert (getattr(pool, LIMIT), getattr(pool, INTERVAL)) == (300, 0.1)
    monkeypatch.setattr(pool, LIMIT, 300)  # what the next line sets is taken back at the end
    celery_internals.shorten_last_result_wait()
    began = time.monotonic()
    unread = SimpleNamespace(on_ready_counter=SimpleNamespace(value=0))
    assert pool.Worker._ensure_messages_consumed(unread, completed=1) is False
    assert 0.9 < time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("silence", "printed"), [("silence_shutdown_messages", ""), ("__doc__.strip", "goodbye")]
)
def test_celery_says_nothing_at_shutdown(silence: str, printed: str) -> None:
    lines = [
        "import sys",
        "from celery.apps.worker import safe_say",
        "from workers.node import celery_internals",
        f"celery_internals.{silence}()",
        "safe_say('goodbye', sys.__stdout__)",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == printed


def test_every_message_at_shutdown_goes_to_the_silenced_stream() -> None:
    source = inspect.getsource(celery_worker)
    assert "safe_say(f'worker: {how} shutdown (MainProcess)', sys.__stdout__)" in source
    assert (
        "safe_say('Waiting gracefully for cold shutdown to complete...', sys.__stdout__)" in source
    )


def test_celery_takes_sighup_before_our_steps_start() -> None:
    tweaks = inspect.getsource(celery_worker.Worker.install_platform_tweaks)
    assert "install_worker_restart_handler(worker)" in tweaks
    assert "install_platform_tweaks" in inspect.getsource(celery_worker.Worker.on_start)


def test_our_steps_start_after_the_pool() -> None:
    for step in (Upkeep, QuotaHelper):
        assert step.requires == ("celery.worker.components:Pool",)
    assert components.Pool.__name__ == "Pool"


def test_an_event_is_sent_by_a_thread_without_a_request() -> None:
    app = Celery("events", broker="memory://", set_as_current=False)
    app.conf.worker_send_task_events = True
    received: list[dict[str, Any]] = []
    facts = {"uuid": "id", "result": "half"}
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"task-progress": received.append})
        sender = threading.Timer(
            0.5, celery_internals.send_task_event, (app, "node", "task-progress"), facts
        )
        sender.start()
        receiver.capture(limit=1, timeout=20)
        sender.join()
    assert [(event["hostname"], event["uuid"], event["result"]) for event in received] == [
        ("node", "id", "half")
    ]
