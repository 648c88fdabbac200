"""Quota scopes on ONTAP: a qtree each, its tree quota rule, and the quota report.

The report is the truth: a stored rule may be without effect (quota off, initializing, a failed
resize). Names are the directory names of the scopes, unique in a volume. So an object whose
request lost its answer is found by its name.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from msgspec import Struct, field

from backends.base import Enforcement
from backends.fs import PREFIX_MODE
from backends.mounted import ArrayUsage
from backends.mounted.rest import ArrayRefused, Reason, jobs
from backends.systems.netapp.volume import OntapVolume
from core.errors import BackendFailed, Conflict, InvalidParameters

_QTREES = "/api/storage/qtrees"
_RULES = "/api/storage/quota/rules"
_REPORTS = "/api/storage/quota/reports"
_LIMIT_FIELDS = "space.hard_limit,space.soft_limit,files.hard_limit,files.soft_limit"
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


class _Row(Struct):
    space: _Limits = field(default_factory=_Limits)
    files: _Limits = field(default_factory=_Limits)


class _Rule(_Row, kw_only=True):
    uuid: str


@dataclass(frozen=True, slots=True)
class _Limit:
    """One wanted limit of a rule: of bytes (`space`) or of inodes (`files`)."""

    kind: Literal["space", "files"]
    field: Literal["hard_limit", "soft_limit"]
    value: int | None

    def matches(self, row: _Row | None) -> bool:
        """Return whether a rule or a row of the report has this limit; None has no limits."""
        return self.value == (row and _limit(getattr(getattr(row, self.kind), self.field)))

    def body(self, rule: _Row | None = None) -> dict[str, dict[str, int]]:
        """Return the limit as a change of a rule.

        A soft limit of bytes that the new limit makes impossible is removed.
        """
        limits: dict[str, int] = {self.field: _NO_LIMIT if self.value is None else self.value}
        soft = rule and getattr(rule, self.kind).soft_limit
        if self.field == "hard_limit" and self.value is not None and (soft or 0) > self.value:
            limits["soft_limit"] = _NO_LIMIT
        return {self.kind: limits}


class OntapQuota:
    """The objects of scopes in one volume.

    `reinitialise`: whether quota may be switched off and on where ONTAP requires it. During that
    time ONTAP enforces no limit of the volume.
    """

    def __init__(
        self,
        volume: OntapVolume,
        *,
        reinitialise: bool,
        export_policy: str | None = None,
        security_style: str | None = None,
    ) -> None:
        """Take the volume, and what new qtrees get; None leaves that to ONTAP."""
        policy = None if export_policy is None else {"name": export_policy}
        facts = {"export_policy": policy, "security_style": security_style}
        self._facts = {name: fact for name, fact in facts.items() if fact is not None}
        self._volume = volume
        self._api = volume.api
        self._reinitialise = reinitialise

    def make_qtree(self, name: str) -> None:
        """Create a qtree owned by the service's user; an existing one is no error."""
        body = {
            **self._where(),
            **self._facts,
            "name": name,
            "unix_permissions": int(f"{PREFIX_MODE:o}"),
            "user": {"id": str(os.geteuid())},
            "group": {"id": str(os.getegid())},
        }
        self._api.make(_QTREES, body, lambda: self._qtree(name) is not None)

    def held(self, name: str) -> ArrayUsage:
        """Return usage and limits; two requests at most."""
        row = self._row(name)
        if row is not None and row.space.used is not None:
            return _usage(row, row.space.used.total, "hard")
        return _usage(self._rule(name) or _Row(), None, None)

    def hold(self, name: str, limit: int | None) -> None:
        """Limit the bytes, or remove that limit, and wait until it has effect.

        An administrator's soft limit stays, unless it is above the new limit.

        Raises:
            Conflict: the directory is not a qtree.
            BackendFailed: ONTAP has stored the limit and does not enforce it.
        """
        self._hold(name, _Limit("space", "hard_limit", limit))

    def hold_softly(self, name: str, limit: int | None) -> None:
        """Set the soft limit of bytes, or remove it, as `hold` does.

        Raises:
            As `hold`; InvalidParameters: the limit is above that of `hold`.
        """
        hard = _limit((self._rule(name) or _Row()).space.hard_limit)
        if limit is not None and hard is not None and limit > hard:
            raise InvalidParameters(f"The soft limit is above the limit of {hard} bytes.")
        self._hold(name, _Limit("space", "soft_limit", limit))

    def hold_inodes(self, name: str, limit: int | None) -> None:
        """Limit the inodes, or remove that limit, as `hold` does.

        Raises:
            As `hold`.
        """
        self._hold(name, _Limit("files", "hard_limit", limit))

    def _hold(self, name: str, limit: _Limit) -> None:
        rule = self._rule(name)
        if rule is None:
            if limit.value is None:
                return
            self._make_rule(name, limit)
        elif not limit.matches(rule):
            self._patch_rule(rule, name, limit)
        elif limit.value is None:
            return
        if not limit.matches(self._row(name)):
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

    def _make_rule(self, name: str, limit: _Limit) -> None:
        body = {**self._where(), "type": "tree", "qtree": {"name": name}, **limit.body()}
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
        if made is not None and not limit.matches(made):  # of an administrator
            self._patch_rule(made, name, limit)

    def _patch_rule(self, rule: _Rule, name: str, limit: _Limit) -> None:
        path = f"{_RULES}/{rule.uuid}"
        self._api.change("PATCH", path, limit.body(rule), lambda: limit.matches(self._rule(name)))

    def _bring_in_force(self, name: str, limit: _Limit) -> None:
        """Wait until quota has taken effect; store the limit again when nothing changes."""
        states = self._volume.states()
        if states.quota_off:
            with suppress(ArrayRefused):  # another process switches it on
                self._volume.enable_quota()
        looks, began = 0, monotonic()

        def settled() -> bool:
            nonlocal looks
            if limit.matches(self._row(name)):
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

    def _push(self, name: str, limit: _Limit) -> None:
        """Store the limit again: ONTAP resizes then."""
        rule = self._rule(name)
        if rule is not None:
            self._patch_rule(rule, name, limit)

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
        return self._api.first(_RULES, _Rule, **self._of(name), fields=_LIMIT_FIELDS)

    def _row(self, name: str) -> _Row | None:
        fields = f"{_LIMIT_FIELDS},space.used.total,files.used.total"
        return self._api.first(_REPORTS, _Row, **self._of(name), fields=fields)

    def _of(self, name: str) -> dict[str, str]:
        uuid = self._volume.identity.uuid
        return {"type": "tree", "volume.uuid": uuid, "qtree.name": name}


def _usage(row: _Row, used: int | None, enforced: Enforcement | None) -> ArrayUsage:
    return ArrayUsage(
        used,
        _limit(row.space.hard_limit),
        enforced,
        soft_limit_bytes=_limit(row.space.soft_limit),
        used_inodes=None if row.files.used is None else row.files.used.total,
        limit_inodes=_limit(row.files.hard_limit),
    )


def _limit(limit: int | None) -> int | None:
    """Return a limit as ONTAP reports it; absent and negative mean no limit."""
    return limit if limit is not None and limit >= 0 else None
