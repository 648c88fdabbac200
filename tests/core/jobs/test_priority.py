"""The priority of a waiting job can change, and the queues as numbers."""

from uuid import UUID

import pytest

from core.errors import Conflict, JobNotFound
from core.jobs import State
from core.jobs.store import JobLists, read_queues
from tests.core.jobs.conftest import Desk

FOLDERS = [f"user:{UUID(int=1)}/{UUID(int=n + 9).hex}" for n in range(5)]


def test_a_waiting_job_goes_before_those_of_a_later_priority(desk: Desk) -> None:
    desk.store.set_slots("v", 1, 1)
    first, second, third = (desk.usage(folder) for folder in FOLDERS[:3])
    assert desk.store.set_priority(third.id, 1).priority == 1
    place = JobLists(desk.redis).queue_position(desk.store.get(third.id))
    assert place is not None
    assert place.ahead == 0
    for job in (first, third, second):
        assert desk.claim(job) == "ok"
        assert desk.finish(job)


def test_a_job_behind_a_lock_keeps_its_lock(desk: Desk) -> None:
    desk.store.set_slots("v", 9, 9)
    holder = desk.delete(FOLDERS[0])
    behind = desk.usage(FOLDERS[0])
    desk.store.set_priority(behind.id, 0)
    assert desk.store.get(behind.id).fields["waits_for"] == holder.id
    assert desk.claim(holder) == "ok"
    assert desk.finish(holder)
    assert desk.claim(behind) == "ok"


def test_a_job_with_a_slot_keeps_it_and_an_ended_one_has_no_priority(desk: Desk) -> None:
    desk.store.set_slots("v", 1, 1)
    job = desk.usage(FOLDERS[0])
    desk.store.set_priority(job.id, 9)
    assert desk.claim(job) == "ok"
    assert desk.finish(job, state=State.SUCCEEDED)
    with pytest.raises(Conflict):
        desk.store.set_priority(job.id, 1)
    with pytest.raises(JobNotFound):
        desk.store.set_priority("absent", 1)


def test_the_queues_as_numbers(desk: Desk) -> None:
    assert read_queues(desk.redis).oldest_seconds == 0
    desk.store.set_slots("v", 1, 1)
    desk.store.set_slots("w", 1, 1)
    running = desk.usage(FOLDERS[0])
    desk.usage(FOLDERS[1])
    desk.usage(FOLDERS[2])
    desk.usage(FOLDERS[3], volume="w")
    assert desk.claim(running) == "ok"
    found = read_queues(desk.redis)
    assert [(one.verb, one.volume, one.lane) for one in found.running] == [("usage", "v", "bulk")]
    assert [(one.volume, one.lane, one.jobs) for one in found.lanes] == [
        ("v", "bulk", 2),
        ("w", "bulk", 1),
    ]
    assert found.waiting == 3
    assert found.all_read
    assert 0 <= found.oldest_seconds < 3600
