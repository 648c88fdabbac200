"""Every end of a job is published once, in order, and both generations of readers can read it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from redis import Redis
from redis.exceptions import RedisError

from core.events import Bus, Event, EventPublisher, JobEndEvent, progress_event
from core.events.endings import end_event_of
from core.events.outbox import Outbox
from core.jobs import Job, State
from core.jobs.requests import CloneRequest, DeleteFilesRequest, DeleteRequest, Request
from core.jobs.store import JobEnd as End
from core.jobs.store import JobStore, Submission
from tests.core.events.reader import Reader, kept
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey

SCOPE = UUID(int=5)
SOURCE = f"user:{SCOPE}/{UUID(int=1).hex}"
TARGET = f"user:{SCOPE}/{UUID(int=2).hex}"
CLONE = CloneRequest(volume="v", source=SOURCE, target=TARGET)
DELETE = DeleteRequest(volume="v", vfolder=SOURCE)


class Office:
    """A store of jobs and a publisher, on a server that a test may kill."""

    def __init__(self, valkey: Valkey, directory: Path) -> None:
        self.valkey = valkey
        self.store = JobStore(valkey.client(1), lambda _ring: None)
        self.store.set_slots("v", 9, 9)
        self.publisher = EventPublisher(settings_in(directory, valkey.url))

    def job(self, request: Request) -> str:
        return self.store.submit(Submission(request)).id

    def run(self, request: Request, end: End) -> str:
        job = self.job(request)
        assert self.store.claim(job, "r", "n", 30) == "ok"
        assert self.store.finish(job, "r", end)
        return job

    def untold(self) -> int:
        with self.valkey.client(1) as client:
            return int(client.zcard("vf:outbox"))


@pytest.fixture
def office(valkey: Valkey, redis_client: Redis, tmp_path: Path) -> Office:
    return Office(valkey, tmp_path)


@pytest.fixture
def reader(valkey: Valkey, office: Office) -> Iterator[Reader]:
    with Reader(valkey.url) as found:
        yield found
    assert found.errors == []


def heard(reader: Reader, job: str) -> list[tuple[str, dict[str, str]]]:
    wait_for(lambda: reader.ends(job) and reader.has_read_all())
    return [(event.name, event.fields) for event in reader.stream]


@pytest.mark.parametrize(
    "case",
    [
        (
            CLONE,
            End(State.SUCCEEDED, '{"sentence":"cloned"}'),
            ("vfolder_clone_success", {"vfid": SOURCE, "dst_vfid": TARGET}),
            "bgtask_done",
            "cloned",
        ),
        (
            CLONE,
            End(State.FAILED, "", '{"detail":"no space"}'),
            (
                "vfolder_clone_failure",
                {"vfid": SOURCE, "dst_vfid": TARGET, "message": "no space"},
            ),
            "bgtask_failed",
            "no space",
        ),
        (
            DELETE,
            End(State.SUCCEEDED, '{"sentence":"deleted"}'),
            ("vfolder_deletion_success", {"vfid": SOURCE}),
            "bgtask_done",
            "deleted",
        ),
        (
            DELETE,
            End(State.PARTIAL, '{"sentence":"deleted"}', "", '{"errors":3}'),
            ("vfolder_deletion_success", {"vfid": SOURCE}),
            "bgtask_partial_success",
            "deleted",
        ),
        (
            DELETE,
            End(State.PARTIAL, '{"sentence":"not there","existed":false}', "", '{"errors":0}'),
            ("vfolder_deletion_success", {"vfid": SOURCE}),
            "bgtask_done",
            "not there",
        ),
        (
            DELETE,
            End(State.FAILED, "", '{"detail":"it hangs"}'),
            ("vfolder_deletion_failure", {"vfid": SOURCE, "message": "it hangs"}),
            "bgtask_failed",
            "it hangs",
        ),
        (
            DeleteFilesRequest(volume="v", vfolder=SOURCE, paths=["a"]),
            End(State.SUCCEEDED, '{"sentence":"deleted"}'),
            None,
            "bgtask_done",
            "deleted",
        ),
        (
            DeleteFilesRequest(volume="v", vfolder=SOURCE, paths=["a"]),
            End(State.PARTIAL, '{"sentence":"skipped","skipped":1}', "", '{"errors":0}'),
            None,
            "bgtask_done",
            "skipped",
        ),
    ],
)
def test_an_end_tells_the_manager_and_then_the_followers(
    office: Office,
    reader: Reader,
    case: tuple[Request, End, tuple[str, dict[str, str]] | None, str, str],
) -> None:
    request, end, stream, last, message = case
    job = office.run(request, end)
    assert office.publisher.outbox.flush() == 1
    assert heard(reader, job) == ([stream] if stream else [])
    found = kept(office.valkey.url, job)
    assert found is not None
    assert (found.name, found.fields["message"]) == (last, message)
    assert reader.ends(job) == [last]
    assert office.untold() == 0


def counted(job: Job) -> dict[str, float]:
    """What the counters of this process say about jobs like this one."""
    verb, labels = {"verb": job.verb}, {"volume": "v", "method": "xcp"}
    names = {
        "jobs": ("vfolder_jobs_total", verb | {"state": job.state.value}),
        "seconds": ("vfolder_job_seconds_sum", verb),
        "observed": ("vfolder_job_seconds_count", verb),
        "bytes": ("vfolder_copied_bytes_total", labels),
        "items": ("vfolder_copied_items_total", labels),
    }
    found = {name: REGISTRY.get_sample_value(*sample) or 0.0 for name, sample in names.items()}
    every = [s for m in REGISTRY.collect() if m.name == "vfolder_jobs" for s in m.samples]
    return found | {"all": sum(s.value for s in every if s.name.endswith("_total"))}


def test_an_end_is_counted_under_its_labels_with_its_seconds(office: Office) -> None:
    result = '{"sentence":"copied","copied_bytes":4096,"files":3,"method":"xcp"}'
    job = office.run(CLONE, End(State.PARTIAL, result))
    office.store.redis.hincrby(f"vf:job:{job}", "created_at", -90_000)
    office.store.redis.hincrby(f"vf:job:{job}", "started_at", -50_000)
    record = office.store.get(job)
    before = counted(record)
    assert office.publisher.outbox.flush() == 1
    after = counted(record)
    grown = {name: round(after[name] - before[name], 6) for name in before}
    fields = record.fields
    took = (int(fields["ended_at"]) - int(fields["created_at"])) / 1000
    assert 90 <= took < 200
    assert grown == {
        "jobs": 1,
        "all": 1,
        "observed": 1,
        "seconds": pytest.approx(took),
        "bytes": 4096,
        "items": 3,
    }
    assert office.publisher.outbox.flush() == 0
    assert counted(record) == after, "an end is counted once"


def test_jobs_that_never_ran_tell_their_end_too(office: Office, reader: Reader) -> None:
    cancelled = office.job(CLONE)
    office.store.cancel(cancelled)
    late = office.store.submit(Submission(DELETE, deadline_ms=int(time.time() * 1000) + 1)).id
    wait_for(lambda: office.store.reap(3) and office.store.get(late).state.ended)
    assert office.publisher.outbox.flush() == 2
    assert heard(reader, late) == [
        (
            "vfolder_clone_failure",
            {"vfid": SOURCE, "dst_vfid": TARGET, "message": "The job was cancelled."},
        ),
        (
            "vfolder_deletion_failure",
            {
                "vfid": SOURCE,
                "message": "The deadline of the job passed before it could start.",
            },
        ),
    ]
    assert reader.ends(cancelled) == ["bgtask_cancelled"]
    assert reader.ends(late) == ["bgtask_failed"]


def test_poison_tells_its_end(office: Office, reader: Reader) -> None:
    job = office.job(DELETE)
    assert office.store.claim(job, "r", "n", 30) == "ok"
    assert office.store.lose(job, "r", "seen dead", 0)
    office.publisher.ended()
    ((name, fields),) = heard(reader, job)
    assert name == "vfolder_deletion_failure"
    assert "given up" in fields["message"]


def test_what_goes_back_to_the_queue_tells_nothing(office: Office) -> None:
    job = office.job(DELETE)
    for run in ("one", "two"):
        assert office.store.claim(job, run, "n", 30) == "ok"
        assert (
            office.store.release(job, run, "drained")
            if run == "one"
            else office.store.lose(job, run, "dead", 9)
        )
    assert office.untold() == 0


def test_the_kept_message_is_there_from_the_start_and_never_goes_back(
    office: Office, reader: Reader
) -> None:
    job = office.store.submit(Submission(CLONE))
    office.publisher.accepted(job)
    found = kept(office.valkey.url, job.id)
    assert found is not None
    assert found.fields["current_progress"] == found.fields["total_progress"] == 0.0
    office.store.claim(job.id, "r", "n", 30)
    office.publisher.started(job)
    snapshot = {
        "text": "copy 50%",
        "done_bytes": 5,
        "total_bytes": 10,
        "done_items": 1,
        "total_items": 2,
    }
    office.publisher.progressed(job.id, snapshot)
    found = kept(office.valkey.url, job.id)
    assert found is not None
    assert found.fields == {
        "task_id": job.id,
        "current_progress": 5.0,
        "total_progress": 10.0,
        "message": "copy 50%",
    }
    office.publisher.accepted(job)  # a repeated request joins: the kept message is not replaced
    assert kept(office.valkey.url, job.id) == found
    office.store.finish(job.id, "r", End(State.SUCCEEDED))
    office.publisher.ended()
    # A frozen run or a slow door: nothing is published after the end.
    assert not office.publisher.bus.publish_progress(job.id, progress_event(job.id, 1, 2, "late"))
    office.publisher.accepted(job)
    found = kept(office.valkey.url, job.id)
    assert found is not None
    assert found.name == "bgtask_done"
    wait_for(lambda: reader.ends(job.id))
    assert reader.story(job.id) == [*["bgtask_updated"] * 3, "bgtask_done"]


def test_many_senders_at_once_tell_each_end_once(office: Office, reader: Reader) -> None:
    jobs = []
    for number in range(60):
        vfolder = f"user:{SCOPE}/{UUID(int=100 + number).hex}"
        jobs.append(
            office.run(DeleteRequest(volume="v", vfolder=vfolder), End(State.SUCCEEDED, "{}"))
        )
    published = []

    def send() -> None:
        outbox = Outbox(office.valkey.client(1), Bus(office.valkey.client(4)))
        published.append(outbox.flush())

    senders = [threading.Thread(target=send) for _ in range(6)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert sum(published) == 60
    wait_for(lambda: all(reader.ends(job) for job in jobs) and reader.has_read_all())
    order = [str(UUID(event.fields["vfid"].split("/")[1])) for event in reader.stream]
    assert order == [str(UUID(int=100 + number)) for number in range(60)]
    assert all(reader.ends(job) == ["bgtask_done"] for job in jobs)


def test_of_many_senders_one_works(office: Office) -> None:
    """The others ask once and go: the store does not work for each sender and each end."""
    for _ in range(20):
        office.run(DELETE, End(State.SUCCEEDED, "{}"))
    with office.valkey.client(1) as jobs:
        jobs.set("vf:outbox:publisher", "1", px=60_000)  # another process publishes
        jobs.config_resetstat()
        assert sum(office.publisher.outbox.flush() for _ in range(50)) == 0
        stats = jobs.info("commandstats")
        assert "cmdstat_hgetall" not in stats
        assert stats["cmdstat_zrange"]["calls"] == 50
        jobs.delete("vf:outbox:publisher")  # it died, and its mark expired
        assert office.publisher.outbox.flush() == 20
        assert not jobs.exists("vf:outbox:publisher")


def test_an_end_is_kept_while_the_bus_is_away(tmp_path: Path, valkey: Valkey) -> None:
    """The bus has a server of its own, which is stopped or killed between two steps."""
    (tmp_path / "bus").mkdir()
    with running_valkey(tmp_path / "bus") as other, valkey.client(1) as jobs:
        jobs.flushall()
        office = Office(valkey, tmp_path)
        job = office.run(DELETE, End(State.SUCCEEDED, "{}"))
        other.kill()
        outbox = Outbox(jobs, Bus(other.client(4)))
        with pytest.raises(RedisError):
            outbox.flush()
        assert outbox.try_flush() == 0
        assert office.untold() == 1
        assert office.store.sweep(0, 0) == 0, "a job whose end is untold is not forgotten"
        other.start()
        with Reader(other.url) as reader:
            wait_for(outbox.try_flush)
            heard(reader, job)
            other.restart()
            # A sender died after it published and before it removed the job:
            jobs.zadd("vf:outbox", {job: 1})
            published_again: list[int] = []
            wait_for(lambda: published_again.append(outbox.try_flush()) or not office.untold())  # type: ignore[func-returns-value] # append, then look
            assert sum(published_again) == 0
            assert len(reader.stream) == 1
        assert reader.errors == []
    assert office.store.sweep(-1, -1) == 1


def test_names_that_are_not_utf8_do_not_stop_the_post(office: Office, reader: Reader) -> None:
    event = Event("bgtask_failed", {"task_id": "t", "message": "caf\udce9"})
    with pytest.raises((TypeError, UnicodeEncodeError)):
        event.broadcast()
    job = office.run(DELETE, End(State.FAILED, "", '{"detail":"caf\\udce9: is a directory"}'))
    assert office.publisher.outbox.flush() == 1
    ((_, fields),) = heard(reader, job)
    assert fields["message"] == "caf?: is a directory"


def test_a_record_that_cannot_be_read_does_not_stop_those_behind_it(
    office: Office, reader: Reader
) -> None:
    broken, good = office.job(DELETE), office.job(CLONE)
    gone = office.job(DeleteFilesRequest(volume="v", vfolder=TARGET, paths=["a"]))
    for job in (broken, gone, good):
        office.store.cancel(job)
    office.store.redis.hset(f"vf:job:{broken}", "request", "{")
    office.store.redis.delete(f"vf:job:{gone}")
    assert office.publisher.outbox.flush() == 1
    assert [name for name, _ in heard(reader, good)] == ["vfolder_clone_failure"]
    assert office.untold() == 0


def test_a_record_alone_says_its_ending(office: Office) -> None:
    job = office.store.get(office.run(CLONE, End(State.SUCCEEDED, "{}")))
    ending = end_event_of(job)
    assert isinstance(ending, JobEndEvent)
    assert [event.name for event in (*ending.stream, ending.last)] == [
        "vfolder_clone_success",
        "bgtask_done",
    ]
