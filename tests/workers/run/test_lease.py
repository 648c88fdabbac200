"""A run counts its lease from the moment when it asked, however late the answer came."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from core.cluster import boot_clock
from core.jobs import LeaseLost
from core.jobs.requests import UsageRequest
from core.jobs.store import PREFIX
from tests.support.valkey import Valkey
from tests.workers.run.conftest import Site
from workers.run import Run

#: How long the store is frozen: longer than any of its answers takes.
FROZEN_SECONDS = 1.0


def usage(site: Site) -> UsageRequest:
    return UsageRequest(volume="local", vfolder=site.source)


def during_a_freeze(valkey: Valkey, call: Callable[[], object]) -> float:
    """Call while the store is frozen; return the time right before it went on."""
    done = threading.Thread(target=call)
    os.kill(valkey.process.pid, signal.SIGSTOP)
    try:
        done.start()
        time.sleep(FROZEN_SECONDS)
        thawed = boot_clock()
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
    done.join()
    return thawed


def test_a_renewal_counts_from_its_sending(site: Site, valkey: Valkey) -> None:
    job = site.submit(usage(site))
    assert site.store.claim(job.id, "r1", "node1", 30) == "ok"
    run = Run(site.store, site.store.get(job.id), 30, name="r1")
    before = run._renewed
    thawed = during_a_freeze(valkey, run._renew)
    assert before < run._renewed < thawed - FROZEN_SECONDS / 2
    run.close()


def test_a_claim_counts_from_its_sending(
    site: Site, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = site.submit(usage(site))
    claim, thawed = site.store.claim, []

    def late(*arguments: Any) -> str:
        answers: list[str] = []
        thawed.append(during_a_freeze(valkey, lambda: answers.append(claim(*arguments))))
        return answers[0]

    monkeypatch.setattr(site.store, "claim", late)
    before = boot_clock()
    _, run = site.runner()._claim(job.id, "r1")
    asked = run._renewed
    assert before <= asked < thawed[0] - FROZEN_SECONDS / 2
    time.sleep(0.05)
    run.start()
    assert run._renewed == asked, "the begin of the work is no renewal"
    run.stop()
    run.close()


def test_a_claim_that_is_repeated_begins_its_lease_again(site: Site) -> None:
    job = site.submit(usage(site))
    assert site.store.claim(job.id, "r1", "node1", 30) == "ok"
    first = float(site.store.redis.zscore(f"{PREFIX}due", job.id) or 0)
    time.sleep(0.01)
    assert site.store.claim(job.id, "r1", "node1", 30) == "ok"
    assert float(site.store.redis.zscore(f"{PREFIX}due", job.id) or 0) > first
    assert site.store.claim(job.id, "r2", "node1", 30) == "held"


def test_no_effect_follows_after_the_lease_may_have_ended(site: Site) -> None:
    """Near its end the run waits for a renewal; past it the run stops."""
    job, lease = site.submit(usage(site)), 1000.0
    assert site.store.claim(job.id, "r1", "node1", lease) == "ok"
    stale = Run(site.store, job, lease, name="r1", claimed_at=boot_clock() - lease * 1.01)
    with pytest.raises(LeaseLost):
        stale.check()
    stale.close()
    run = Run(site.store, job, lease, name="r1", claimed_at=boot_clock() - lease * 0.9)
    passed = threading.Thread(target=run.check)
    passed.start()
    passed.join(0.3)
    assert passed.is_alive(), "it went on without a renewal"
    assert run._renew()
    passed.join(60)
    assert not passed.is_alive()
    run.close()
