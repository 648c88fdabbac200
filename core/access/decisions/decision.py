"""The decision: may this caller do this act? A pure function of what was read before.

The lesser of subject and credential counts. What a subject may not see looks as if it were absent
(`hidden`), and the doors answer 404 with the same bytes.
"""

import math
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal
from uuid import UUID

from msgspec import Struct, structs

from core.access.decisions.rules import AccessRule, Need
from core.access.permissions import Permission, Scope
from core.access.records import Grant, VFolderRecord
from core.access.subjects import Caller, CredentialFacts, Subject
from core.names import QuotaScope, ScopeKind

NONE, OWNER = Permission.NONE, Permission.OWNER
DeciderKind = Literal["local", "callout", "both"]


class AccessReason(StrEnum):
    """Why the answer is yes or no; `met` is the only yes."""

    MET = "met"
    ABSENT = "absent"
    NO_PERMISSION = "no_permission"
    LOW_PERMISSION = "low_permission"
    CREDENTIAL_SCOPE = "credential_scope"
    CREDENTIAL_LIMITED = "credential_limited"
    CREDENTIAL_EXPIRED = "credential_expired"
    VFOLDER_EXPIRED = "vfolder_expired"
    BLOCKED = "blocked"
    WRONG_SUBJECT = "wrong_subject"
    OPERATORS_ONLY = "operators_only"


class Held(Struct, frozen=True, kw_only=True):
    """The permission of a subject on one vfolder, by what, and until when."""

    permission: Permission = NONE
    via: str = ""
    expires_at: float | None = None


class VFolderResource(Struct, frozen=True, kw_only=True):
    """A vfolder as it was read: its record, and what a policy service says of the subject."""

    #: None: there is no such vfolder. The same steps are taken as for one that is hidden.
    record: VFolderRecord | None
    trashed: bool = False
    decider: DeciderKind = "local"
    #: The answer of the policy service; None is no answer, which is no permission.
    answer: Held | None = None
    #: The policy service gave no answer, and the settings let the records decide then.
    fallback: bool = False


class ScopeResource(Struct, frozen=True, kw_only=True):
    """A quota scope in which something is to be made."""

    scope: QuotaScope
    volume: str = ""
    #: Whether each member of a group may make vfolders, or only group admins.
    members_may: bool = False


class JobResource(Struct, frozen=True, kw_only=True):
    """A job: who submitted it, and the vfolders it names."""

    requester: str
    vfolders: tuple[VFolderResource, ...] = ()
    target: VFolderResource | None = None
    #: Volume and id of each vfolder that it names, also of those that are gone.
    places: tuple[tuple[str, UUID], ...] = ()


ProtectedResource = VFolderResource | ScopeResource | JobResource | None


class Decision(Struct, frozen=True, kw_only=True):
    """The answer, with what a refusal or an audit line needs."""

    allowed: bool
    #: What the subject has, the credential's limits included.
    permission: Permission = NONE
    needed: Permission = NONE
    via: str = ""
    #: Seconds of the epoch; afterwards the decision may differ. None is no known end.
    expires_at: float | None = None
    reason: AccessReason = AccessReason.MET
    #: A refusal that must look as if the thing were absent: 404.
    hidden: bool = False
    #: What decided: `local`, `callout`, `both`, or `fallback` of a policy service that is away.
    decider: str = "local"

    @property
    def facts(self) -> dict[str, str]:
        """Return the members of the problem document of a refusal that is not hidden."""
        return {
            "needed": self.needed.word,
            "have": self.permission.word,
            "reason": self.reason.value,
        }


def decide(
    caller: Caller, need: Need, resource: ProtectedResource = None, *, now: float | None = None
) -> Decision:
    """Decide one need of an act.

    Args:
        caller: the subject and its credential, already proven.
        need: a condition of a row of `ACTS`.
        resource: what the need is about; its kind fits `need.role`. None for `self` and `server`.
        now: seconds of the epoch; the present by default.
    """
    moment = time.time() if now is None else now
    refused = _unusable(caller, moment)
    if refused is not None:
        return _refusal(need, refused)
    if caller.subject.kind == "manager":
        return Decision(allowed=True, permission=OWNER, needed=need.permission, via="manager")
    match resource:
        case VFolderResource():
            decision = _on_vfolder(caller, need, resource, moment)
        case ScopeResource():
            decision = _in_scope(caller, need, resource)
        case JobResource() if not covers_places(caller.credential, resource.places):
            decision = _refusal(need, AccessReason.NO_PERMISSION)
        case JobResource():
            decision = _on_job(caller, need, resource, moment)
        case None:
            decision = _without_resource(caller, need)
    decider = _decider(resource)
    if decider != "local":
        decision = structs.replace(decision, decider=decider)
    return _ending(decision, caller.credential.expires_at)


def decide_rule(
    caller: Caller,
    rule: AccessRule,
    resources: Mapping[str, ProtectedResource],
    *,
    now: float | None = None,
) -> Decision:
    """Decide all needs of a row at once; the first refusal is the answer.

    Args:
        caller: as for `decide`.
        rule: a row of `ACTS`.
        resources: for each role that the row names, what was read. A missing one is absent.
        now: as for `decide`.
    """
    if caller.subject.kind not in rule.subjects and caller.subject.kind != "manager":
        reason = (
            AccessReason.OPERATORS_ONLY
            if rule.subjects == {"operator"}
            else AccessReason.WRONG_SUBJECT
        )
        hidden = caller.subject.kind == "link" or rule.manager_door
        return _refusal(rule.needs[0], reason, hidden=hidden)
    if rule.manager_door and caller.subject.kind != "manager":
        return _refusal(rule.needs[0], AccessReason.WRONG_SUBJECT)
    moment = time.time() if now is None else now
    decisions = [
        decide(caller, need, _resource_of(need, resources), now=moment) for need in rule.needs
    ]
    refusals = [decision for decision in decisions if not decision.allowed]
    # An absent end hides the act even when the other end is refused openly.
    refusals.sort(key=lambda decision: not decision.hidden)
    if refusals:
        return refusals[0]
    ends = [decision.expires_at for decision in decisions if decision.expires_at is not None]
    return _ending(decisions[-1], min(ends, default=None))


def _resource_of(need: Need, resources: Mapping[str, ProtectedResource]) -> ProtectedResource:
    if need.role in ("self", "server"):
        return None
    return resources.get(need.role, VFolderResource(record=None))


# -- What a subject has ----------------------------------------------------------------------------
def held(subject: Subject, record: VFolderRecord, now: float) -> Held:
    """Return the permission of a subject on a vfolder by its record: the greatest that counts.

    The owner has all. Grants to the subject and to its groups count while they are live, and
    membership of the owning group gives `group_permission`. A visitor has what the maker of the
    link has.
    """
    if subject.kind == "link":
        return held(subject.maker, record, now) if subject.maker else Held()
    if subject.blocked or subject.id is None:
        return Held()
    owner = _as_owner(subject, record)
    if owner is not None:
        return owner
    words = _words(subject)
    found = [
        _granted(grant)
        for grant in record.grants
        if grant.live(now) and (grant.to in words or _for_operator(grant, subject))
    ]
    if record.owner.kind == "group" and record.owner.id in subject.groups:
        word = Permission.parse(record.group_permission)
        found.append(Held(permission=word, via=f"group:{record.owner.id}"))
    return max(found, key=_greatness, default=Held())


def _as_owner(subject: Subject, record: VFolderRecord) -> Held | None:
    if record.owner.kind == "user" and record.owner.id == subject.id:
        return Held(permission=OWNER, via="owner")
    if record.owner.kind == "group" and record.owner.id in subject.admin_of:
        return Held(permission=OWNER, via=f"group_admin:{record.owner.id}")
    return None


def _words(subject: Subject) -> set[str]:
    """Return every word by which a grant may name the subject."""
    return {f"user:{subject.id}", *(f"group:{one}" for one in subject.groups | subject.admin_of)}


def _for_operator(grant: Grant, subject: Subject) -> bool:
    as_operator = subject.kind == "operator" and grant.source == "break_glass"
    return as_operator and grant.to == f"operator:{subject.id}"


def _granted(grant: Grant) -> Held:
    via = "break_glass" if grant.source == "break_glass" else "grant"
    return Held(
        permission=Permission.parse(grant.permission),
        via=f"{via}:{grant.id}",
        expires_at=grant.expires_at,
    )


def _greatness(item: Held) -> tuple[int, float]:
    return item.permission, math.inf if item.expires_at is None else item.expires_at


def combined(subject: Subject, resource: VFolderResource, now: float) -> Held:
    """Return the permission by the deciders of a resource; of both, the lesser one."""
    if resource.record is None:
        return Held()
    said = resource.answer or Held()
    if resource.decider == "callout":
        return said
    own = held(subject, resource.record, now)
    if resource.decider == "local":
        return own
    lesser = min(own, said, key=_greatness)
    ends = [item.expires_at for item in (own, said) if item.expires_at is not None]
    return Held(permission=lesser.permission, via=lesser.via, expires_at=min(ends, default=None))


# -- One need --------------------------------------------------------------------------------------
def _on_vfolder(caller: Caller, need: Need, resource: VFolderResource, now: float) -> Decision:
    subject, record = caller.subject, resource.record
    has = combined(subject, resource, now)
    if (
        record is None
        or not _covers(caller.credential, record)
        or _out_of_sight(caller, need, resource, has)
    ):
        return _refusal(need, AccessReason.ABSENT if record is None else AccessReason.NO_PERMISSION)
    if need.person and _is_person(need, subject, record, now):
        return _by_scope(caller, need, has)
    if need.operator and subject.kind == "operator" and has.permission < need.permission:
        has = Held(permission=need.permission, via="operator")
        return _by_operator(caller, need, has)
    if has.permission is NONE or need.person:
        return _refusal(need, AccessReason.NO_PERMISSION, has, hidden=has.permission is NONE)
    return _at_least(caller, need, _lowered(has, need, record, now), full=has)


def _at_least(caller: Caller, need: Need, has: Held, *, full: Held) -> Decision:
    if has.permission >= need.permission:
        return _by_scope(caller, need, has)
    expired = full.permission >= need.permission
    reason = AccessReason.VFOLDER_EXPIRED if expired else AccessReason.LOW_PERMISSION
    return _refusal(need, reason, has, hidden=caller.subject.kind == "link")


def _out_of_sight(caller: Caller, need: Need, resource: VFolderResource, has: Held) -> bool:
    """Return whether the vfolder is in the trash, where its owner and operators find it."""
    finds = has.permission is OWNER or (need.operator and caller.subject.kind == "operator")
    return resource.trashed and not (need.in_trash and finds)


def _lowered(has: Held, need: Need, record: VFolderRecord, now: float) -> Held:
    """Return what is left after the end of the vfolder, or until it comes."""
    if need.when_expired or record.expires_at is None or has.permission <= Permission.RO:
        return has
    if now >= record.expires_at:
        return Held(permission=Permission.RO, via=has.via, expires_at=has.expires_at)
    end = record.expires_at if has.expires_at is None else min(has.expires_at, record.expires_at)
    return Held(permission=has.permission, via=has.via, expires_at=end)


def _is_person(need: Need, subject: Subject, record: VFolderRecord, now: float) -> bool:
    if need.person == "grantee":
        own = f"user:{subject.id}"
        return any(g.to == own and g.source == "local" and g.live(now) for g in record.grants)
    kind, _, text = record.next_owner.partition(":")
    if kind == "user":
        return UUID(text) == subject.id
    return kind == "group" and UUID(text) in subject.admin_of


def _in_scope(caller: Caller, need: Need, resource: ScopeResource) -> Decision:
    subject, scope = caller.subject, resource.scope
    credential = caller.credential
    outside = credential.volumes is not None and resource.volume not in credential.volumes
    if outside or credential.vfolders is not None:
        return _refusal(need, AccessReason.CREDENTIAL_LIMITED, hidden=False)
    if scope.kind is ScopeKind.USER and scope.id == subject.id:
        return _by_scope(caller, need, Held(permission=OWNER, via="owner"))
    member = scope.kind is ScopeKind.PROJECT and scope.id in subject.groups | subject.admin_of
    if member and (resource.members_may or scope.id in subject.admin_of):
        return _by_scope(caller, need, Held(permission=OWNER, via=f"group:{scope.id}"))
    if need.operator and subject.kind == "operator":
        return _by_operator(caller, need, Held(permission=OWNER, via="operator"))
    return _refusal(need, AccessReason.LOW_PERMISSION, hidden=not member)


def covers_places(credential: CredentialFacts, places: Sequence[tuple[str, UUID]]) -> bool:
    """Return whether a credential is good for all these vfolders; a bound one is for no others."""
    if credential.vfolders is None and credential.volumes is None:
        return True
    return bool(places) and all(
        (credential.volumes is None or volume in credential.volumes)
        and (credential.vfolders is None or vfolder in credential.vfolders)
        for volume, vfolder in places
    )


def _on_job(caller: Caller, need: Need, resource: JobResource, now: float) -> Decision:
    if resource.requester == caller.subject.word:
        return _by_scope(caller, need, Held(permission=OWNER, via="requester"))
    if need.operator and caller.subject.kind == "operator":
        return _by_operator(caller, need, Held(permission=OWNER, via="operator"))
    seen = bool(resource.vfolders) and all(
        _sees(caller, vfolder, now) >= Permission.RO for vfolder in resource.vfolders
    )
    if need.permission is OWNER:
        target = resource.target
        if target is not None and _sees(caller, target, now) is OWNER:
            return _by_scope(caller, need, Held(permission=OWNER, via="owner"))
        return _refusal(need, AccessReason.LOW_PERMISSION, hidden=not seen)
    if seen:
        return _by_scope(caller, need, Held(permission=Permission.RO, via="vfolders"))
    return _refusal(need, AccessReason.NO_PERMISSION)


def _sees(caller: Caller, resource: VFolderResource, now: float) -> Permission:
    if resource.record is None or not _covers(caller.credential, resource.record):
        return NONE
    has = combined(caller.subject, resource, now).permission
    return NONE if resource.trashed and has is not OWNER else has


def _without_resource(caller: Caller, need: Need) -> Decision:
    if need.role == "self":
        if caller.subject.kind == "link":
            return _refusal(need, AccessReason.WRONG_SUBJECT)
        return _by_scope(caller, need, Held(permission=OWNER, via="self"))
    if need.role == "server":
        if caller.subject.kind != "operator" or need.operator is None:
            return _refusal(need, AccessReason.OPERATORS_ONLY, hidden=False)
        return _by_operator(caller, need, Held(permission=OWNER, via="operator"))
    return _refusal(need, AccessReason.ABSENT)


# -- What a credential leaves ----------------------------------------------------------------------
def _unusable(caller: Caller, now: float) -> AccessReason | None:
    subject = caller.subject
    if subject.blocked or (subject.maker is not None and subject.maker.blocked):
        return AccessReason.BLOCKED
    return AccessReason.CREDENTIAL_EXPIRED if caller.credential.has_ended(now) else None


def _covers(credential: CredentialFacts, record: VFolderRecord) -> bool:
    named = credential.vfolders is None or record.id in credential.vfolders
    return named and (credential.volumes is None or record.volume in credential.volumes)


def _by_scope(caller: Caller, need: Need, has: Held) -> Decision:
    # The credential of an operator is for looks, and this look was opened with a reason.
    opened = has.via.startswith("break_glass:")
    needed = frozenset({Scope.ADMIN_READ}) if opened else need.scopes
    if needed <= caller.credential.scopes:
        return Decision(
            allowed=True,
            permission=has.permission,
            needed=need.permission,
            via=has.via,
            expires_at=has.expires_at,
        )
    hidden = caller.subject.kind == "link"
    return _refusal(need, AccessReason.CREDENTIAL_SCOPE, has, hidden=hidden)


def _by_operator(caller: Caller, need: Need, has: Held) -> Decision:
    if need.operator in caller.credential.scopes:
        return Decision(
            allowed=True, permission=has.permission, needed=need.permission, via=has.via
        )
    return _refusal(need, AccessReason.CREDENTIAL_SCOPE, has, hidden=False)


def _refusal(
    need: Need, reason: AccessReason, has: Held | None = None, *, hidden: bool = True
) -> Decision:
    had = has or Held()
    return Decision(
        allowed=False,
        permission=had.permission,
        needed=need.permission,
        via=had.via,
        expires_at=had.expires_at,
        reason=reason,
        hidden=hidden,
    )


def _ending(decision: Decision, end: float | None) -> Decision:
    """Return the decision with an end that is not after the given one."""
    if end is None or (decision.expires_at is not None and decision.expires_at <= end):
        return decision
    return structs.replace(decision, expires_at=end)


def _decider(resource: ProtectedResource) -> str:
    if isinstance(resource, JobResource):
        resource = resource.target or next(iter(resource.vfolders), None)
    if not isinstance(resource, VFolderResource):
        return "local"
    return "fallback" if resource.fallback else resource.decider
