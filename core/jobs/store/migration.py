"""From former layouts of keys (1, 2) to the present one, at the first move after an upgrade.

Layout 1 had one queue per vfolder for all modes, and wrote into each waiting job what it waits for.
Both had an index of all jobs, and larger records of ended jobs, which are read as they are.
Every script refuses a store of another layout, so nothing moves while one process migrates; the
others wait. Each step may be repeated: when the process dies, another one begins again. Only live
jobs are touched. Processes of the former version must have ended before.
"""

import time
from collections.abc import Iterator
from typing import cast
from uuid import uuid4

import redis

from core.errors import StoreUnavailable
from core.jobs.store.loading import LAYOUT, script_texts
from core.jobs.store.messages import PREFIX
from core.telemetry import logger

_log = logger(__name__)

_LAYOUT = PREFIX + "layout"
_LOCK = PREFIX + "layout:lock"
#: Layout 1 has no number.
_WITH_LOCKS = "2"
_ALL_JOBS = PREFIX + "ix:all"
_LIVE = ("running", "cancelling", "queued")
#: Jobs or keys per script.
_BATCH = 100
#: The lock of the process that migrates; each script renews it (milliseconds).
_LOCK_MS = 30_000
#: A process that waits for the migration gives up after this time, and its caller tries again.
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.05


class StoreOfOtherLayout(StoreUnavailable, redis.RedisError):
    """The store is not migrated yet: who waits for a store that is away waits for this, too."""


def is_other_layout(error: redis.ResponseError) -> bool:
    """Return whether a script refused because the store has another layout."""
    return str(error).startswith("LAYOUT")


def migrate(client: "redis.Redis") -> None:
    """Bring the store to the present layout, or wait until another process has done so.

    Raises:
        StoreOfOtherLayout: a newer version of vfolder wrote the store, or the migration takes long.
        redis.RedisError: the store does not answer.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    token = uuid4().hex
    while (found := cast("str | None", client.get(_LAYOUT))) != LAYOUT:
        if found not in (None, _WITH_LOCKS):
            raise StoreOfOtherLayout(
                f"The store of jobs has layout {found}, and this version knows {LAYOUT}; "
                "start the version that wrote it."
            )
        if client.set(_LOCK, token, nx=True, px=_LOCK_MS):
            _Migration(client, token).run(found)
        if time.monotonic() > until:
            raise StoreOfOtherLayout("The store of jobs is being migrated; try again in a minute.")
        time.sleep(_POLL_SECONDS)


class _Migration:
    """One migration, by the process that holds the lock; it stops when it loses the lock."""

    def __init__(self, client: "redis.Redis", token: str) -> None:
        self._redis = client
        self._token = token
        self._script = client.register_script(dict(script_texts())["migrate"])

    def run(self, former: str | None) -> None:
        done = (
            (former == _WITH_LOCKS or self._new_queues())
            and self._step("drop", keys=[_ALL_JOBS])
            and self._step("done")
        )
        if self._redis.exists(PREFIX + "seq"):  # else it was empty
            _log.info("store of jobs migrated", layout=LAYOUT, done=done)

    def _new_queues(self) -> bool:
        return (
            self._on_keys("turns", "ring:*")
            and self._on_jobs("locks")
            and self._on_jobs("queues")
            and all(self._on_keys("drop", old) for old in ("lockq:*", "waiters:*", "waiting:*"))
            and self._on_keys("counts", "turns:*")
        )

    def _step(self, step: str, *arguments: str, keys: list[str] | None = None) -> bool:
        answer = self._script(keys=keys or [], args=[self._token, str(_LOCK_MS), step, *arguments])
        return bool(answer == "1")

    def _on_keys(self, step: str, pattern: str) -> bool:
        return all(self._step(step, keys=keys) for keys in _batches(self._keys(pattern)))

    def _on_jobs(self, step: str) -> bool:
        jobs = [job for state in _LIVE for job in self._jobs(state)]
        return all(self._step(step, *ids) for ids in _batches(jobs))

    def _jobs(self, state: str) -> list[str]:
        return [str(job) for job in self._redis.zrange(f"{PREFIX}ix:state:{state}", 0, -1)]

    def _keys(self, pattern: str) -> list[str]:
        return list(self._redis.scan_iter(match=PREFIX + pattern, count=1000))


def _batches(found: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(found), _BATCH):
        yield found[start : start + _BATCH]
