"""The verb `rescan`: count what the quota scopes of a volume hold, and name what is wrong there.

A walk counts each scope. The result is compared with the usage that its limit applies to. That is
our ledger, which is corrected, or the storage system's figure, which is only reported. The report
names every deviation. A scope that could not be read completely is neither corrected nor repaired.
"""

import os
from collections import Counter as Tally
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from backends.fs import descriptors, layout
from backends.quota import ledger_of, requested_limits
from core.errors import QuotaScopeNotFound
from core.jobs import State
from core.jobs.requests import RescanRequest
from core.jobs.store import PREFIX
from core.names import QuotaScope, VFolderId, counted, moment
from core.quota import Thresholds
from core.redis import dumps
from workers.run import Context, Manifest, Outcome
from workers.verbs.record_index import RecordIndex
from workers.verbs.scope_count import Deviation, ScopeCount, VolumeToCount, scope_named

#: Scopes that the result names, those that differ most; the report names all.
WORST = 20
#: The last result of a volume is stored for this long.
KEEP_SECONDS = 30 * 86_400


class Rescan:
    """One run of a rescan; it skips scopes that an earlier run of the job has counted."""

    def __init__(self, context: Context, request: RescanRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._backend = context.backend(request.volume)
        self._root = context.root(request.volume)
        self._volume = VolumeToCount(self._backend, self._root, Thresholds(context.settings))
        self._owner = QuotaScope.parse(request.owner) if request.owner else None

    def __call__(self) -> Outcome:
        """Count the scopes, then look for remains of scopes that do not exist any more.

        Raises:
            QuotaScopeNotFound: the request names a scope that does not exist.
        """
        names = self._names()
        manifest = self._context.manifest(self._root, self._owner)
        self._context.report(self._root, self._owner, continues=True)
        self._run.phase("count")
        done = {mark["scope"]: mark for mark in manifest.all("scope")}
        self._run.expect(items=len(names))
        for name in names:
            if name not in done:
                done[name] = self._scope(name, manifest)
        orphans = [self._orphans(), self._records()] if self._owner is None else []
        return self._outcome(list(done.values()), orphans)

    def undo(self) -> None:
        """Undo nothing: a correct figure stays correct."""

    def _names(self) -> list[str]:
        if self._owner is None:
            return layout.scopes(self._root)
        if not descriptors.exists(PurePosixPath(self._owner.directory), self._root):
            raise QuotaScopeNotFound(f"Quota scope {self._owner} does not exist.")
        return [self._owner.directory]

    def _scope(self, name: str, manifest: Manifest) -> dict[str, Any]:
        self._run.check()
        counting = ScopeCount(self._context, self._volume, name, self._request.repairs)
        try:
            facts = counting()
        except FileNotFoundError:  # deleted meanwhile
            facts = {"scope": name, "found": {}, "repaired": {}, "complete": True}
        manifest.mark("scope", **facts)
        return facts

    def _orphans(self) -> dict[str, dict[str, int]]:
        """Return the deviations of scopes that do not exist: their limits and their usage."""
        self._run.phase("look")
        existing = set(os.listdir(self._root))
        found = {
            Deviation.ORPHANED_LIMIT: self._limits_of_nobody(existing),
            Deviation.ORPHANED_USAGE: self._figures_of_nobody(existing),
        }
        counts = {kind: count for kind, count in found.items() if count}
        repaired = {kind: n for kind, n in counts.items() if self._request.repairs(kind)}
        return {"found": _plain(counts), "repaired": _plain(repaired)}

    def _limits_of_nobody(self, existing: set[str]) -> int:
        limits = [name for name in requested_limits.names(self._root) if name not in existing]
        for name in limits:
            self._context.note(name, f"{Deviation.ORPHANED_LIMIT}: no such scope exists")
            if self._request.repairs(Deviation.ORPHANED_LIMIT):
                requested_limits.forget(self._root, scope_named(name))
        return len(limits)

    def _figures_of_nobody(self, existing: set[str]) -> int:
        soft = ledger_of(self._backend)
        if soft is None:
            return 0
        count = 0
        for name in self._run.patiently(soft.ledger.scopes):
            if "/" in name:
                if not self._is_live(name):
                    soft.end(name)
            elif name not in existing and soft.total(name) is None:
                count += 1
                self._context.note(name, f"{Deviation.ORPHANED_USAGE}: no such scope exists")
                if self._request.repairs(Deviation.ORPHANED_USAGE):
                    soft.end(name)
        return count

    def _is_live(self, account: str) -> bool:
        """Return whether the vfolder of an account is there."""
        scope, _, vfolder = account.partition("/")
        path = PurePosixPath(scope) / VFolderId(None, UUID(vfolder)).directory
        return descriptors.exists(path, self._root)

    def _records(self) -> dict[str, dict[str, int]]:
        """Build the index of access records again; return which of them are wrong."""
        if self._context.settings.vfolder.access is None:
            return {}
        index = RecordIndex(self._context.settings, self._backend, self._context.note)
        repair = self._request.repairs(Deviation.ORPHANED_RECORD)
        return self._run.patiently(lambda: index.rebuild(self._run.check, repair=repair))

    def _outcome(
        self, scopes: list[dict[str, Any]], orphans: list[dict[str, dict[str, int]]]
    ) -> Outcome:
        drifts = [facts for facts in scopes if facts.get("drift_bytes")]
        drifts.sort(key=lambda facts: abs(facts["drift_bytes"]), reverse=True)
        complete = all(facts["complete"] for facts in scopes)
        result = {
            "scopes": sum(facts["scope"] != "." for facts in scopes),
            **{
                name: sum(facts.get(name, 0) for facts in scopes)
                for name in ("vfolders", "entries", "size_bytes", "allocated_bytes", "trash_bytes")
            },
            "drifted": len(drifts),
            "drift": drifts[:WORST],
            "found": _sum([*scopes, *orphans], "found"),
            "repaired": _sum([*scopes, *orphans], "repaired"),
            "complete": complete,
        }
        if self._owner is None and complete:
            self._run.patiently(lambda: self._store(result))
        deviations = sum(result["found"].values())
        return Outcome(
            sentence=self._run.summary(
                f"rescanned {counted(result['scopes'], 'quota scope')} of {self._request.volume}: "
                f"{len(drifts):,} drifted, {counted(deviations, 'oddity', 'oddities')}"
            ),
            result=result,
            state=State.SUCCEEDED if complete else State.PARTIAL,
        )

    def _store(self, result: dict[str, Any]) -> None:
        client = self._context.store.redis
        seconds, micros = client.time()
        at = moment(seconds + micros / 1_000_000)
        name = f"{PREFIX}rescan:{self._request.volume}"
        client.set(name, dumps(result | {"as_of": at, "job": self._run.job.id}), ex=KEEP_SECONDS)


def _plain(counts: dict[Deviation, int]) -> dict[str, int]:
    return {str(kind): count for kind, count in counts.items()}


def _sum(counted: list[dict[str, Any]], name: str) -> dict[str, int]:
    total: Tally[str] = Tally()
    for facts in counted:
        total.update(facts.get(name, {}))
    return dict(total)
