"""Bugs that people write: an edge, a step left out, two steps in a wrong order, a wrong answer."""

from collections.abc import Iterator

from tests.mutants.mutation import Mutation, replaced

_UPLOADS = "tests/backends/uploads"
_CLIENT = "tests/api/client"
_ENDS = "tests/workers/ends"
_STORE = "core/jobs/store/scripts"
_JOBS = "tests/core/jobs"


def mutations() -> Iterator[Mutation]:
    """Yield all of them; each name says what is wrong."""
    yield from _bytes()
    yield from _paths()
    yield from _rights()
    yield from _jobs()
    yield from _answers()
    yield from _copies()


def _bytes() -> Iterator[Mutation]:
    ranges = f"{_CLIENT}/test_ranges.py"
    yield replaced(
        "a range ends one byte behind the file",
        "api/streaming/ranges.py",
        "min(last, size - 1) - first + 1",
        "min(last, size) - first + 1",
        ranges,
    )
    yield replaced(
        "a range that begins at the end of the file is served",
        "api/streaming/ranges.py",
        "if first >= size:",
        "if first > size:",
        ranges,
    )
    yield replaced(
        "bytes of an upload that were not committed stay",
        "backends/uploads/staging.py",
        "true = min(size, offset)",
        "true = size",
        f"{_UPLOADS}/test_uploads.py",
    )
    yield replaced(
        "an upload takes one byte more than it announced",
        "api/doors/client/upload_body.py",
        "if limit is not None and self.offset + received > limit:",
        "if limit is not None and self.offset + received > limit + 1:",
        f"{_CLIENT}/test_uploads.py::test_never_more_than_announced",
    )
    yield replaced(
        "a request that was cut leaves no rewind",
        "api/doors/client/upload_body.py",
        "            self.offset = self._staging.settle(self._started)\n"
        "        self._store.advance(self._lease, self.offset, rewind=self._started)",
        "            self.offset = self._staging.settle(self._started)\n"
        "        self._store.advance(self._lease, self.offset)",
        f"{_CLIENT}/test_uploads.py::test_after_a_cut_the_old_offset_is_good_until_a_head",
    )
    yield replaced(
        "a file is published before its digest is checked",
        "backends/uploads/staging.py",
        "        check_digest(self.descriptor, self.upload.digest, self.on_work)\n"
        "        size_bytes = self.size()\n",
        "        size_bytes = self.size()\n",
        f"{_UPLOADS}/test_uploads.py",
    )


def _paths() -> Iterator[Mutation]:
    paths = "tests/backends/fs/test_paths.py"
    yield replaced(
        "a walk leaves its root by two dots",
        "backends/fs/paths.py",
        "        if len(chain) == 1:\n"
        "            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))\n"
        "        os.close(chain.pop())\n",
        "        if len(chain) == 1:\n"
        '            chain.append(os.open("..", _DIRECTORY, dir_fd=chain[-1]))\n'
        "            return None\n"
        "        os.close(chain.pop())\n",
        paths,
    )
    yield replaced(
        "a link of an archive leads out by one directory",
        "backends/archives/unpack.py",
        "inside = up <= len(member.path.parent.parts) and",
        "inside = up <= len(member.path.parts) and",
        "tests/backends/archives/test_unpack.py",
    )
    yield replaced(
        "a restore replaces a vfolder that was made meanwhile",
        "workers/verbs/trash.py",
        "descriptors.rename_new(note.id, directory, target.name, parent)",
        "descriptors.exists(target, self._root) and descriptors.rename_new(\n"
        '                    target.name, parent, f"{note.id}.old", directory\n'
        "                )\n"
        "                descriptors.rename_new(note.id, directory, target.name, parent)",
        f"{_ENDS}/test_verdicts.py::test_a_restore_replaces_nothing_that_was_made_meanwhile",
    )


def _rights() -> Iterator[Mutation]:
    yield replaced(
        "the beginning of the secret is enough",
        "api/http/auth.py",
        'if not hmac.compare_digest(given.encode("latin-1", "replace"), expected):',
        'if not expected.startswith(given.encode("latin-1", "replace")):',
        "tests/api/wire/test_shell.py",
    )
    yield replaced(
        "a ticket of another session reaches an upload",
        "api/doors/client/upload_session.py",
        "return (upload.session, upload.volume, upload.vfolder) == own",
        "return (upload.volume, upload.vfolder) == own[1:]",
        f"{_CLIENT}/test_uploads.py::test_a_ticket_reaches_only_its_own",
    )
    yield replaced(
        "a ticket for a download uploads",
        "core/access/tickets.py",
        'operation = "upload" if kind is UploadTicket else "download"',
        'operation = getattr(ticket, "operation", getattr(ticket, "op", None))',
        f"{_CLIENT}/test_downloads.py::test_an_upload_ticket_does_not_download",
        f"{_CLIENT}/test_uploads.py::test_ticket_comes_first",
    )
    yield replaced(
        "the bound of a scope counts the uploads of all scopes",
        "core/uploads/store.py",
        "tus.upload.open.scope:{upload.volume}:{vfolder.scope or ''}",
        "tus.upload.open.scope:{upload.volume}:",
        f"{_UPLOADS}/test_bounds.py",
    )


def _jobs() -> Iterator[Mutation]:
    store = f"{_JOBS}/test_store.py"
    yield replaced(
        "a paused job that ran leaves its locks",
        f"{_STORE}/pause.lua",
        "if pause == '1' and never_ran then leave_locks",
        "if pause == '1' then leave_locks",
        store,
    )
    yield replaced(
        "the pause of a volume is ignored by its runs",
        f"{_STORE}/heartbeat.lua",
        "get(id, 'pause') == '1' or redis.call('SISMEMBER', P .. 'paused', volume) == 1",
        "get(id, 'pause') == '1'",
        store,
    )
    yield replaced(
        "a job that got its slot before the pause of its volume begins",
        f"{_STORE}/claim.lua",
        "if redis.call('SISMEMBER', P .. 'paused', get(id, 'volume')) == 1 then",
        "if false then",
        store,
    )
    yield replaced(
        "a run that lost its job ends it",
        f"{_STORE}/finish.lua",
        "if not holds(id, run) then return answer('lost') end",
        "if ended(get(id, 'state')) then return answer('lost') end",
        store,
    )
    yield replaced(
        "a job past its point of no return is cancelled",
        f"{_STORE}/cancel.lua",
        "if get(id, 'final') == '1' then return answer('final') end\n",
        "",
        store,
    )
    yield replaced(
        "an idempotency key is used again with another body",
        f"{_STORE}/submit.lua",
        "    if known[2] ~= ARGV[4] then return answer('reused', nil, known[1]) end\n",
        "",
        store,
    )
    yield replaced(
        "an end never comes to the outbox",
        f"{_STORE}/shared/moves.lua",
        "  redis.call('ZADD', P .. 'outbox', redis.call('INCR', P .. 'outbox:seq'), id)\n",
        "",
        "tests/core/events/test_events.py::test_jobs_that_never_ran_tell_their_end_too",
    )
    yield replaced(
        "a job of the same age blocks its vfolder for itself",
        f"{_STORE}/shared/locks.lua",
        "tonumber(oldest[2]) < turn then return true end",
        "tonumber(oldest[2]) <= turn then return true end",
        store,
    )
    yield replaced(
        "the sweep removes what a living process still writes",
        "workers/node/leftovers.py",
        "        yield False\n",
        "        yield True\n",
        f"{_ENDS}/test_unforeseen.py"
        "::test_the_sweep_leaves_an_ended_job_whose_process_still_holds_the_fence",
    )


def _answers() -> Iterator[Mutation]:
    yield replaced(
        "a read-only volume is a failure of the storage",
        "backends/fs/errors.py",
        'errno.EROFS: Meaning(ReadOnly, "The volume is read-only; no change is possible."),',
        'errno.EROFS: Meaning(BackendFailed, "The volume is read-only."),',
        "tests/backends/fs/test_errors.py",
        "tests/house/test_retriable.py",
    )
    yield replaced(
        "the death of a helper is no reason to try again",
        "core/errors.py",
        'class HelperDied(Unavailable):\n    """',
        'class HelperDied(Unavailable):\n    retriable = False\n    """',
        "tests/house/test_retriable.py",
    )
    yield replaced(
        "an error of one entry is no fault of its job",
        "workers/verbs/delete.py",
        "                except (OSError, StorageError) as error:\n"
        "                    failed += 1\n",
        "                except (OSError, StorageError) as error:\n",
        f"{_ENDS}/test_verdicts.py::test_an_entry_that_cannot_be_removed_is_counted_and_named",
    )
    yield replaced(
        "a half purged vfolder is restored",
        "backends/retention/trash.py",
        "record.vfolder == own and not record.purging and",
        "record.vfolder == own and",
        f"{_ENDS}/test_verdicts.py::test_a_purge_that_leaves_entries_is_partial",
    )


def _copies() -> Iterator[Mutation]:
    yield replaced(
        "a directory in place of the target counts as published",
        "workers/verbs/transfer/publish.py",
        'return status is not None and status.st_ino == mark["inode"]',
        "return status is not None",
        f"{_ENDS}/test_published.py",
    )
    yield replaced(
        "a publication is noted after it was made",
        "workers/verbs/transfer/publish.py",
        '        manifest.mark("publish", inode=inode)\n'
        "        self._run.check()\n"
        "        if self._mode == FILE:\n"
        "            self._target.replace(name, staged)\n"
        "        else:\n"
        "            self._target.take(name, staged)\n",
        "        self._run.check()\n"
        "        if self._mode == FILE:\n"
        "            self._target.replace(name, staged)\n"
        "        else:\n"
        "            self._target.take(name, staged)\n"
        '        manifest.mark("publish", inode=inode)\n',
        f"{_ENDS}/test_published.py",
    )
    yield replaced(
        "an effect follows after the lease may have ended",
        "workers/run/run.py",
        "            if silent < self._lease * SAFE_SHARE:\n                return\n",
        "            if silent < self._lease * 100:\n                return\n",
        "tests/workers/run/test_lease.py",
    )
