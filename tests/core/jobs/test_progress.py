"""Progress: the percent never falls while a job runs, and its end says the whole."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.jobs import Counter, JobSummary, Progress, summary

PHASES = ("plan", "copy", "seal", "verify", "publish")
WEIGHTS = {"copy": 2.0, "verify": 1.0}
WHOLE = JobSummary("cloned 100 files", 100, 1000)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def copied(progress: Progress, clock: Clock, phases: tuple[str, ...] = PHASES) -> list[Any]:
    """Go through phases with 100 entries each; return the percents that a watcher sees."""
    seen = []
    for name in phases:
        progress.phase(name)
        seen.append(progress.snapshot()["percent"])
        if name in WEIGHTS:
            progress.expect(100, 1000)
        for _ in range(4):
            clock.now += 1
            counter = Counter.VERIFIED if name == "verify" else Counter.COPIED
            if name in WEIGHTS:
                progress.count(counter, 25, 250)
            seen.append(progress.snapshot()["percent"])
    return seen


def test_the_percent_is_that_of_the_job() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.weigh(WEIGHTS)
    seen = copied(progress, clock)
    assert seen[0] is None
    known = [percent for percent in seen if percent is not None]
    assert known == sorted(known)
    assert known[4] == 66.7  # copied, not yet verified
    assert known[-1] == 99.0  # not ended yet
    assert progress.snapshot()["text"].startswith("publish 99%")


@given(
    st.lists(st.tuples(st.sampled_from(PHASES), st.integers(0, 300), st.booleans()), max_size=30),
    st.booleans(),
    st.none() | st.floats(0, 99),
)
def test_no_order_of_phases_lets_it_fall(
    steps: list[tuple[str, int, bool]],
    weighs: bool,  # noqa: FBT001 - a parameter of hypothesis
    former: float | None,
) -> None:
    clock = Clock()
    progress = Progress(clock, percent=former)
    if weighs:
        progress.weigh(WEIGHTS)
    last = former or 0.0
    for name, entries, total in steps:
        progress.phase(name)
        if total:
            progress.expect(100, 1000)
        progress.count(Counter.COPIED, entries, entries)
        clock.now += 1
        percent = progress.snapshot()["percent"]
        assert percent is None or last <= percent <= 99.0
        last = percent or last


def test_a_later_attempt_begins_where_the_former_one_was() -> None:
    clock = Clock()
    progress = Progress(clock, percent=41.0)
    assert copied(progress, clock, ("plan", "copy"))[0] == 41.0


def test_the_rate_is_recent_and_an_eta_comes_when_it_is_known() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.phase("copy")
    progress.expect(1000, 1_000_000)
    progress.count(Counter.COPIED, 5, 5_000)
    clock.now += 5
    found = progress.snapshot()
    assert (found["bytes_per_second"], found["eta_seconds"]) == (1000, None)
    assert "eta" not in found["text"]
    for _ in range(60):
        clock.now += 1
        progress.count(Counter.COPIED, 2, 2_000)
        found = progress.snapshot()
    assert found["bytes_per_second"] == 2000  # the first five seconds are forgotten
    assert found["eta_seconds"] == 438  # 875,000 bytes are left
    clock.now += 120
    found = progress.snapshot()
    assert (found["stalled_seconds"], found["eta_seconds"]) == (120, None)
    assert found["text"] == "copy 12%  122/977 KiB  stalled 2m00s  125/1,000 files"


def test_work_that_is_done_again_counts_once() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.phase("copy")
    progress.expect(100, 1000)
    for items, done, rate in ((50, 50, 50.0), (-30, 50, None), (20, 50, None), (50, 90, 40 / 3)):
        progress.count(Counter.COPIED, items, 10 * items)
        clock.now += 1
        found = progress.snapshot()
        assert (found["done_items"], found["done_bytes"]) == (done, 10 * done)
        assert (found["percent"], found["items_per_second"]) == (done, rate)
        assert rate is not None or found["eta_seconds"] is None
    assert found["phases"][0]["items"] == {"copied": 90}


def test_a_wait_is_said_at_once_and_ends_with_the_next_count() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.phase("copy")
    progress.expect(100, 1000)
    progress.count(Counter.COPIED, 50, 500)
    clock.now += 20
    progress.count(Counter.COPIED, -10, -100)
    progress.wait("the source's node")
    found = progress.snapshot()
    assert found["text"] == "wait for the source's node 50%  500/1000 B  50/100 files"
    assert found["waits_for"] == "the source's node"
    assert found["bytes_per_second"] is found["items_per_second"] is found["eta_seconds"] is None
    clock.now += 60
    found = progress.snapshot()
    assert found["stalled_seconds"] == 80, "what is taken back is no work"
    progress.count(Counter.COPIED, 1, 10)
    found = progress.snapshot()
    assert (found["phase"], found["stalled_seconds"]) == ("copy", None)
    assert found["waits_for"] is None
    progress.wait("the source's node")
    assert progress.final()["waits_for"] is None
    progress.wait("")
    assert progress.snapshot()["phase"] == "copy"


@given(
    st.lists(
        st.tuples(st.sampled_from([*Counter]), st.integers(-50, 50), st.integers(0, 40)),
        max_size=30,
    )
)
def test_no_order_of_counts_makes_a_rate_negative_or_a_counter_fall(
    steps: list[tuple[Counter, int, int]],
) -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.phase("copy")
    progress.expect(100, 1000)
    last: dict[str, int] = {}
    for counter, items, seconds in steps:
        progress.count(counter, items, 10 * items)
        clock.now += seconds
        found = progress.snapshot()
        for name in ("items_per_second", "bytes_per_second"):
            assert found[name] is None or found[name] > 0
        assert found["eta_seconds"] is None or found["eta_seconds"] >= 0
        counts = found["phases"][0]["items"]
        assert all(counts[name] >= count for name, count in last.items())
        last = counts


def test_the_end_says_the_whole() -> None:
    clock = Clock()
    progress = Progress(clock)
    copied(progress, clock)
    end = progress.final(WHOLE)
    assert (end["text"], end["percent"]) == ("cloned 100 files", 100.0)
    assert (end["done_items"], end["total_items"]) == (100, 100)
    assert (end["done_bytes"], end["total_bytes"]) == (1000, 1000)
    assert end["bytes_per_second"] == 1000 / 20
    assert end["eta_seconds"] is end["stalled_seconds"] is end["entry"] is None
    assert [phase["name"] for phase in end["phases"]] == list(PHASES)


def test_the_end_of_a_later_attempt_has_no_rate() -> None:
    """The amounts are those of all attempts, and the time is that of the last one."""
    clock = Clock()
    progress = Progress(clock, percent=90.0, continues=True)
    copied(progress, clock)
    end = progress.final(WHOLE)
    assert end["done_bytes"] == 1000
    assert end["bytes_per_second"] is end["items_per_second"] is progress.seconds is None


def test_what_the_verb_does_not_know_is_the_sum_of_the_phases() -> None:
    progress = Progress(Clock())
    for name, counter in (
        ("count", Counter.LISTED),
        ("purge", Counter.DELETED),
        ("look", Counter.LISTED),
        ("purge", Counter.DELETED),
    ):
        progress.phase(name)
        progress.count(counter, 7)
    end = progress.final(JobSummary("deleted"))
    assert (end["done_items"], end["total_items"]) == (14, 14)


def test_a_job_that_failed_says_where_it_stopped() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.phase("copy")
    progress.expect(100, 1000)
    progress.count(Counter.COPIED, 25, 250)
    clock.now += 200
    assert progress.snapshot()["stalled_seconds"] == 200
    end = progress.final()
    assert (end["percent"], end["done_items"], end["total_items"]) == (25.0, 25, 100)
    assert end["eta_seconds"] is end["stalled_seconds"] is None
    assert end["text"].startswith("copy 25%")


def test_a_phase_without_a_total_keeps_the_amounts_of_the_last_one_with_a_total() -> None:
    clock = Clock()
    progress = Progress(clock)
    copied(progress, clock, ("plan", "copy", "seal"))
    progress.count(Counter.COPIED, 2)  # names of hard links
    assert "100/100 files" in progress.snapshot()["text"]


def test_sentences_of_an_end() -> None:
    assert summary("cloned", ["9,624 files"], 1.33, 274 << 20) == (
        "cloned 9,624 files, 274 MiB in 1.3 s (206 MiB/s)"
    )
    assert summary("cloned", ["1 file"], 185, 4096) == "cloned 1 file, 4.0 KiB in 3m05s (22 B/s)"
    assert summary("cloned", ["2 files"], None, 2048) == "cloned 2 files, 2.0 KiB"
    assert summary("deleted", ["nothing"], 0.0) == "deleted nothing in 0.0 s"
