"""Quota scopes on ONTAP: a qtree each, its tree quota rule, and the quota report.

The report is the truth: a stored rule may be without effect (quota off, initializing, a failed
resize). Names are the directory names of the scopes, unique in a volume. So an object whose
request lost its answer is found by its name.
"""

import os
from contextlib import suppress
from time import monotonic

from msgspec import Struct, field

from backends.fs import PREFIX_MODE
from backends.mounted import ArrayUsage
from backends.mounted.rest import ArrayRefused, Reason, jobs
from backends.systems.netapp.volume import OntapVolume
from core.errors import BackendFailed, Conflict

_QTREES = "/api/storage/qtrees"
_RULES = "/api/storage/quota/rules"
_REPORTS = "/api/storage/quota/reports"
#: Removes a limit in a PATCH.
_NO_LIMIT = -1
#: Quota of a big volume initializes for minutes; the service waits this long (seconds).
_INITIALISING_SECONDS = 3.0
#: A limit without effect after this many checks is stored again.
_LOOKS_BEFORE_PUSH = 4
#: The longest pause between checks (seconds).
_LONGEST_PAUSE_SECONDS = 1.0


class _Qtree(Struct):
    id: int


class _Used(Struct):
    total: int = 0


class _Limits(Struct):
    hard_limit: int | None = None
    soft_limit: int | None = None
    used: _Used | None = None


class _Rule(Struct):
    uuid: str
    space: _Limits = field(default_factory=_Limits)


class _Row(Struct):
    space: _Limits = field(default_factory=_Limits)


class OntapQuota:
    """The objects of scopes in one volume.

    `reinitialise`: whether quota may be switched off and on where ONTAP requires it. During that
    time ONTAP enforces no limit of the volume.
    """

    def __init__(self, volume: OntapVolume, *, reinitialise: bool) -> None:
        self._volume = volume
        self._api = volume.api
        self._reinitialise = reinitialise

    def make_qtree(self, name: str) -> None:
        """Create a qtree owned by the service's user; an existing one is no error."""
        body = {
            **self._where(),
            "name": name,
            "unix_permissions": int(f"{PREFIX_MODE:o}"),
            "user": {"id": str(os.geteuid())},
            "group": {"id": str(os.getegid())},
        }
        self._api.make(_QTREES, body, lambda: self._qtree(name) is not None)

    def held(self, name: str) -> ArrayUsage:
        """Return usage and limit; two requests at most."""
        row = self._row(name)
        if row is not None and row.space.used is not None:
            return ArrayUsage(row.space.used.total, _limit(row.space))
        rule = self._rule(name)
        limit = _limit(rule.space) if rule else None
        return ArrayUsage(None, limit, enforced=None)

    def hold(self, name: str, limit: int | None) -> None:
        """Set a limit, or remove it, and wait until it has effect, within the deadline.

        Raises:
            Conflict: the directory is not a qtree.
            BackendFailed: ONTAP has stored the limit and does not enforce it.
        """
        rule = self._rule(name)
        if limit is None and (rule is None or _limit(rule.space) is None):
            return
        if rule is None:
            self._make_rule(name, limit)
        elif _limit(rule.space) != limit or rule.space.soft_limit not in (None, _NO_LIMIT):
            self._patch_rule(rule.uuid, name, limit)
        if not self._in_force(name, limit):
            self._bring_in_force(name, limit)

    def drop(self, name: str) -> bool:
        """Remove the qtree and the rule of a removed directory; return whether there was any."""
        qtree, rule = self._qtree(name), self._rule(name)
        if qtree is not None:
            path = f"{_QTREES}/{self._volume.identity.uuid}/{qtree.id}"
            self._api.change("DELETE", path, None, lambda: self._qtree(name) is None)
        if rule is not None:
            path = f"{_RULES}/{rule.uuid}"
            self._api.change("DELETE", path, None, lambda: self._rule(name) is None)
        return qtree is not None or rule is not None

    def _make_rule(self, name: str, limit: int | None) -> None:
        body = {
            **self._where(),
            "type": "tree",
            "qtree": {"name": name},
            "space": {"hard_limit": limit},
        }
        try:
            self._api.make(_RULES, body, lambda: self._rule(name) is not None)
        except ArrayRefused as refusal:
            if refusal.reason in (Reason.NOT_FOUND, Reason.INVALID) and not self._qtree(name):
                raise Conflict(
                    "The quota scope is a plain directory, not a qtree; only a qtree can have a "
                    "limit on ONTAP. Move what it holds into a scope made by this service.",
                ) from None
            raise
        made = self._rule(name)
        if made is not None and _limit(made.space) != limit:  # of an administrator
            self._patch_rule(made.uuid, name, limit)

    def _patch_rule(self, uuid: str, name: str, limit: int | None) -> None:
        wanted = _NO_LIMIT if limit is None else limit
        body = {"space": {"hard_limit": wanted, "soft_limit": _NO_LIMIT}}
        self._api.change("PATCH", f"{_RULES}/{uuid}", body, lambda: self._stored(name, limit))

    def _stored(self, name: str, limit: int | None) -> bool:
        rule = self._rule(name)
        return rule is not None and _limit(rule.space) == limit

    def _in_force(self, name: str, limit: int | None) -> bool:
        row = self._row(name)
        return _limit(row.space) == limit if row else limit is None

    def _bring_in_force(self, name: str, limit: int | None) -> None:
        """Wait until quota has taken effect; store the limit again when nothing changes."""
        states = self._volume.states()
        if states.quota_off:
            with suppress(ArrayRefused):  # another process switches it on
                self._volume.enable_quota()
        looks, began = 0, monotonic()

        def settled() -> bool:
            nonlocal looks
            if self._in_force(name, limit):
                return True
            if not self._volume.states().holds_limits:
                return monotonic() - began > _INITIALISING_SECONDS
            looks += 1
            if looks == _LOOKS_BEFORE_PUSH:
                self._push(name, limit)
            if looks == 2 * _LOOKS_BEFORE_PUSH:
                self._off_and_on()
            return False

        jobs.wait(settled, _LONGEST_PAUSE_SECONDS)

    def _push(self, name: str, limit: int | None) -> None:
        """Store the limit again: ONTAP resizes then."""
        rule = self._rule(name)
        if rule is not None:
            self._patch_rule(rule.uuid, name, limit)

    def _off_and_on(self) -> None:
        if not self._reinitialise:
            raise BackendFailed(
                "ONTAP has stored the limit but does not hold anybody to it until quota of the "
                "volume is switched off and on. Do that, or allow it: netapp_quota_reinit = "
                '"auto".',
            )
        self._volume.enable_quota(on=False)
        self._volume.enable_quota()

    def _where(self) -> dict[str, dict[str, str]]:
        identity = self._volume.identity
        return {"svm": {"uuid": identity.svm.uuid}, "volume": {"uuid": identity.uuid}}

    def _qtree(self, name: str) -> _Qtree | None:
        query = {"volume.uuid": self._volume.identity.uuid, "name": name, "fields": "id"}
        return self._api.first(_QTREES, _Qtree, **query)

    def _rule(self, name: str) -> _Rule | None:
        fields = "space.hard_limit,space.soft_limit"
        return self._api.first(_RULES, _Rule, **self._of(name), fields=fields)

    def _row(self, name: str) -> _Row | None:
        fields = "space.hard_limit,space.used.total"
        return self._api.first(_REPORTS, _Row, **self._of(name), fields=fields)

    def _of(self, name: str) -> dict[str, str]:
        uuid = self._volume.identity.uuid
        return {"type": "tree", "volume.uuid": uuid, "qtree.name": name}


def _limit(space: _Limits) -> int | None:
    """Return a limit as ONTAP reports it; absent and negative mean no limit."""
    return space.hard_limit if space.hard_limit is not None and space.hard_limit >= 0 else None
