"""Two bugs of each kind that once lived through all tests."""

from collections.abc import Iterator

from tests.mutants.mutation import Mutation, replaced

_UPLOADS = "tests/backends/uploads"
_ENDS = "tests/workers/ends"
_RUN = "tests/workers/run"
_STORE = "core/jobs/store/scripts"


def mutations() -> Iterator[Mutation]:
    """Yield all of them; the part of a name before the colon is the kind."""
    yield from _tickets_and_links()
    yield from _uploads()
    yield from _copies()
    yield from _promises()
    yield from _ends()
    yield from _leases()
    yield from _signals()


def _tickets_and_links() -> Iterator[Mutation]:
    ended = "tests/api/client/test_upload_bounds.py::test_an_ended_ticket_creates_and_moves_nothing"
    yield replaced(
        "ticket cached past its expiry: a known one is good for ever",
        "api/doors/client/tickets.py",
        "if checked.exp <= time.time():",
        "if checked.exp <= 0:",
        ended,
    )
    yield replaced(
        "ticket cached past its expiry: the claim is not verified",
        "core/access/tickets.py",
        'options={"require": ["exp"]}',
        'options={"require": ["exp"], "verify_exp": False}',
        ended,
    )
    yield replaced(
        "links followed in hidden directories: opened by the kernel",
        "backends/fs/descriptors.py",
        "_BENEATH = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_SYMLINKS",
        "_BENEATH = linux.RESOLVE_BENEATH",
        "tests/backends/fs/test_hidden_links.py",
    )
    yield replaced(
        "links followed in hidden directories: opened one by one",
        "backends/fs/descriptors.py",
        "_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
        "tests/backends/fs/test_hidden_links.py",
    )


def _uploads() -> Iterator[Mutation]:
    staging = "backends/uploads/staging.py"
    yield replaced(
        "staging opened through a link: of an open upload",
        staging,
        "_OPEN_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK",
        "_OPEN_FILE = os.O_RDWR | os.O_NONBLOCK",
        f"{_UPLOADS}/test_leases.py",
    )
    yield replaced(
        "staging opened through a link: of a new upload",
        staging,
        "_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW |",
        "_NEW_FILE = os.O_WRONLY | os.O_CREAT |",
        f"{_UPLOADS}/test_leases.py",
    )
    yield replaced(
        "orphan sweep without grace: of uploads",
        "backends/uploads/expiry.py",
        "if known or status.st_mtime > before:",
        "if known:",
        f"{_UPLOADS}/test_uploads.py::test_the_sweep_removes_uploads_without_a_record",
    )
    yield replaced(
        "orphan sweep without grace: of what jobs left",
        "workers/node/leftovers.py",
        "if known is None and status.st_ctime > before:",
        "if known is None and status.st_ctime < 0:",
        f"{_ENDS}/test_unforeseen.py::test_the_sweep_leaves_what_belongs_to_no_record_for_a_while",
    )
    yield replaced(
        "published mode under any umask: of a file that was renamed",
        "backends/fs/inheritance.py",
        "        os.fchmod(descriptor, FILE_MODE)\n",
        "        os.umask(mask := os.umask(0))\n        os.fchmod(descriptor, FILE_MODE & ~mask)\n",
        f"{_UPLOADS}/test_inheritance.py",
    )
    yield replaced(
        "published mode under any umask: of an empty file",
        staging,
        "            inheritance.inherit_access(descriptor, parent, backend.mount.owner)\n"
        "        finally:\n",
        "            pass\n        finally:\n",
        f"{_UPLOADS}/test_inheritance.py",
    )


def _copies() -> Iterator[Mutation]:
    verdicts = f"{_ENDS}/test_verdicts.py::test_a_copy_that_is_wrong_is_never_published"
    live = "tests/backends/tree/test_live_source.py"
    yield replaced(
        "clone's verification skipped: unless checksums are requested",
        "workers/verbs/clone.py",
        'if self._level != "none":',
        'if self._level == "checksum":',
        verdicts,
    )
    yield replaced(
        "clone's verification skipped: what it found is dropped",
        "workers/verbs/transfer/verify.py",
        "    if not shown:\n        return\n",
        "    if terms.since_ns is not None or not shown:\n        return\n",
        verdicts,
    )
    yield replaced(
        "small file changed while read: its attributes are not compared",
        "backends/tree/files/content.py",
        "        raise Changed\n",
        "        return\n",
        live,
    )
    yield replaced(
        "small file changed while read: its length is not compared",
        "backends/tree/files/content.py",
        "    elif len(data) != size:\n        raise ShortSource\n",
        "",
        "tests/backends/tree/test_content.py",
    )


def _promises() -> Iterator[Mutation]:
    ledger, promises = "core/quota/ledger.py", f"{_RUN}/test_quota_promises.py"
    yield replaced(
        "ledger settled twice: the mark is not looked at",
        ledger,
        "redis.call('SET', mark, '1', 'NX', 'EX', ARGV[3])",
        "redis.call('SET', mark, '1', 'EX', ARGV[3])",
        "tests/core/quota/test_ledger.py",
    )
    yield replaced(
        "ledger settled twice: by a second attempt",
        "workers/verbs/transfer/transfer.py",
        "soft.settle(self._target.backend, vfolder, job.id, gained - lost, since_ms=since_ms)",
        'soft.settle(self._target.backend, vfolder, f"{job.id}{job.attempt}", gained - lost)',
        promises,
    )
    yield replaced(
        "promise that ends too soon: after minutes",
        ledger,
        "HOLD_SECONDS = 86_400",
        "HOLD_SECONDS = 600",
        "tests/core/quota/test_ledger.py",
    )
    yield replaced(
        "promise that ends too soon: one that has not expired",
        ledger,
        "redis.call('ZRANGEBYSCORE', key(3), '-inf', '(' .. text(now()),",
        "redis.call('ZRANGEBYSCORE', key(3), '-inf', '(' .. text(now() + 3600000),",
        "tests/core/quota/test_ledger.py",
    )
    yield replaced(
        "quota not promised again by a second attempt: of a copy",
        "workers/verbs/transfer/transfer.py",
        "        soft.reserve(backend, self._target.vfolder, self._run.job.id, net_bytes)\n",
        "        if self._run.job.attempt == 1:\n"
        "            soft.reserve(backend, self._target.vfolder, self._run.job.id, net_bytes)\n",
        promises,
    )
    yield replaced(
        "quota not promised again by a second attempt: of an extract",
        "workers/verbs/extract.py",
        "        if size_bytes:\n            job",
        "        if size_bytes and self._run.job.attempt == 1:\n            job",
        promises,
    )
    restore = f"{promises}::test_a_restore_over_a_hard_limit_is_refused"
    yield replaced(
        "restore over a hard limit: without a look at the limit",
        "workers/verbs/trash.py",
        "if scope is None or soft.soft_of(self._backend) is not None:",
        "if scope is None or soft.soft_of(self._backend) is None:",
        restore,
    )
    yield replaced(
        "restore over a hard limit: of a scope that is over it",
        "workers/verbs/trash.py",
        "(quota.used_bytes or 0) > quota.limit_bytes:",
        "(quota.used_bytes or 0) > 2 * quota.limit_bytes:",
        restore,
    )


def _ends() -> Iterator[Mutation]:
    verdicts = f"{_ENDS}/test_verdicts.py"
    yield replaced(
        "purge that left entries called a success: purge",
        "workers/verbs/trash.py",
        "    return Outcome(sentence, result, State.PARTIAL if left else State.SUCCEEDED)\n",
        "    return Outcome(sentence, result, State.SUCCEEDED)\n",
        f"{verdicts}::test_a_purge_that_leaves_entries_is_partial",
    )
    yield replaced(
        "purge that left entries called a success: delete",
        "workers/verbs/delete.py",
        "self._vfolder, existed=known, left=left)",
        "self._vfolder, existed=known, left=0)",
        f"{verdicts}::test_a_delete_that_leaves_entries_is_partial",
    )
    counted = (
        "tests/core/events/test_events.py::test_an_end_is_counted_under_its_labels_with_its_seconds"
    )
    yield replaced(
        "job metrics with right labels and seconds: labels",
        "core/events/counting.py",
        "metrics.JOBS.labels(job.verb, job.state.value)",
        "metrics.JOBS.labels(job.state.value, job.verb)",
        counted,
    )
    yield replaced(
        "job metrics with right labels and seconds: seconds",
        "core/events/counting.py",
        'int(job.fields["created_at"])',
        'int(job.fields.get("started_at") or job.fields["created_at"])',
        counted,
    )


def _leases() -> Iterator[Mutation]:
    leases = f"{_UPLOADS}/test_leases.py"
    yield replaced(
        "lease counted from the answer: of a renewal",
        "workers/run/run.py",
        "self._renewed = sent_at",
        "self._renewed = boot_clock()",
        f"{_RUN}/test_lease.py",
    )
    yield replaced(
        "lease counted from the answer: of a claim",
        "workers/runner.py",
        "name=name, claimed_at=sent_at)",
        "name=name)",
        f"{_RUN}/test_lease.py",
    )
    yield replaced(
        "upload lease renewed by commits: not at all",
        "core/uploads/store.py",
        "redis.call('EXPIRE', KEYS[2], ARGV[3])\n",
        "",
        leases,
    )
    yield replaced(
        "upload lease renewed by commits: one that was lost",
        "core/uploads/store.py",
        "redis.call('EXPIRE', KEYS[2], ARGV[3])\nreturn redis.call('GET', KEYS[5]) or ''",
        "redis.call('SET', KEYS[2], ARGV[1], 'EX', 5)\nreturn redis.call('GET', KEYS[5]) or ''",
        leases,
    )
    yield replaced(
        "423 not 409: the error",
        "core/uploads/upload.py",
        "    status = 423\n",
        "    status = 409\n",
        leases,
    )
    yield replaced(
        "423 not 409: the writer that is replaced",
        "api/doors/client/upload_body.py",
        'raise UploadLeaseHeld("Another request of this upload asked to replace this one.")',
        'raise OffsetMismatch("Another request of this upload asked to replace this one.")',
        "tests/api/client/test_uploads.py::test_a_writer_that_is_replaced_is_answered_with_423",
    )
    wakes = "tests/core/jobs/test_wakes.py::test_the_reaper_rings_ever_later"
    yield replaced(
        "reaper back-off: the same pause each time",
        f"{_STORE}/reap.lua",
        "math.min(2 ^ times, 16)",
        "2",
        wakes,
    )
    yield replaced(
        "reaper back-off: it goes on after a new admission",
        f"{_STORE}/shared/lanes.lua",
        "'admitted', '1', 'rung', '0', 'reason'",
        "'admitted', '1', 'reason'",
        wakes,
    )


def _signals() -> Iterator[Mutation]:
    events = "tests/api/jobs/test_events.py::test_a_version_is_sent_once"
    yield replaced(
        "SSE versions never repeat: the newest again",
        "api/jobs/live.py",
        "if events.version > self._last_seen or events.done:",
        "if events.version >= self._last_seen or events.done:",
        events,
    )
    yield replaced(
        "SSE versions never repeat: what was sent is forgotten",
        "api/jobs/live.py",
        "                self._last_seen = events.version\n",
        "",
        events,
    )
    deadlines = "tests/api/volumes/test_deadlines.py"
    yield replaced(
        "a busy volume waits: one old call makes it stuck",
        "api/volumes/deadlines.py",
        "            max(running) < time.monotonic() - STUCK_SECONDS",
        "            min(running) < time.monotonic() - STUCK_SECONDS",
        deadlines,
    )
    yield replaced(
        "a busy volume waits: busy threads are stuck",
        "api/volumes/deadlines.py",
        "            max(running) < time.monotonic() - STUCK_SECONDS",
        "            max(running) < time.monotonic()",
        deadlines,
    )
    thresholds = "tests/core/quota/test_thresholds.py"
    yield replaced(
        "threshold at exactly its value: only above it",
        "core/quota/thresholds.py",
        "used_bytes * 100 >= limit_bytes * (p",
        "used_bytes * 100 > limit_bytes * (p",
        thresholds,
    )
    yield replaced(
        "threshold at exactly its value: rounded",
        "core/quota/thresholds.py",
        "used_bytes * 100 >= limit_bytes * (p",
        "round(used_bytes * 100 / max(limit_bytes, 1)) >= (p",
        thresholds,
    )
