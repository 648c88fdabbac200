"""Why a decision is what it is, step by step: for operators and for the manager."""

import time
from typing import Any

from msgspec import structs

from core.access.decisions.decision import (
    Decision,
    Held,
    VFolderResource,
    combined,
    decide_rule,
    held,
)
from core.access.decisions.rules import AccessRule
from core.access.records import Grant, VFolderRecord
from core.access.subjects import Caller, Subject


def explained(
    caller: Caller, rule: AccessRule, resource: VFolderResource, *, now: float | None = None
) -> tuple[Decision, list[dict[str, Any]]]:
    """Return the decision of an act on one vfolder, and every step that led to it.

    Each step names what was looked at, whether it counts, and what it gives.
    """
    moment = time.time() if now is None else now
    decision = decide_rule(caller, rule, {need.role: resource for need in rule.needs}, now=moment)
    steps: list[dict[str, Any]] = []
    if resource.record is None:
        return decision, [_step("vfolder", counts=False, detail="does not exist")]
    if caller.subject.blocked:
        steps.append(_step("subject", counts=False, detail="is blocked"))
    steps += _of_record(caller.subject, resource.record, moment)
    if resource.decider != "local":
        said = resource.answer or Held()
        steps.append(_step("callout", counts=True, gives=said.permission.word))
    left = combined(caller.subject, resource, moment)
    steps.append(_step("permission", counts=True, gives=left.permission.word, detail=left.via))
    ended = resource.record.expires_at is not None and moment >= resource.record.expires_at
    if ended:
        steps.append(_step("end of the vfolder", counts=True, detail="read-only for all"))
    for need in rule.needs:
        lacks = sorted(need.scopes - caller.credential.scopes)
        if lacks:
            steps.append(_step("credential", counts=False, detail=f"lacks {', '.join(lacks)}"))
        steps.append(_step("needed", counts=True, gives=need.permission.word, detail=need.text))
    return decision, steps


def _of_record(subject: Subject, record: VFolderRecord, now: float) -> list[dict[str, Any]]:
    owns = held(subject, _bare(record), now)
    steps = [
        _step("owner", counts=owns.via == "owner", detail=record.owner.word),
        *(_of_grant(subject, record, grant, now) for grant in record.grants),
    ]
    if record.owner.kind == "group":
        groups = subject.groups | subject.admin_of
        inside = record.owner.id in groups
        gives = owns.permission.word if inside else "none"
        steps.append(_step("group", counts=inside, gives=gives, detail=record.owner.word))
    return steps


def _of_grant(subject: Subject, record: VFolderRecord, grant: Grant, now: float) -> dict[str, Any]:
    alone = held(subject, _with(record, grant), now)
    counts = alone.via.endswith(f":{grant.id}")
    detail = f"to {grant.to}, by {grant.source}"
    if not grant.live(now):
        detail += ", has ended"
    return _step(f"grant {grant.id}", counts=counts, gives=grant.permission, detail=detail)


def _bare(record: VFolderRecord) -> VFolderRecord:
    return structs.replace(record, grants=())


def _with(record: VFolderRecord, grant: Grant) -> VFolderRecord:
    """Return a record in which nothing but one grant gives a permission."""
    without_owner = type(record.owner)(kind="group", id=record.id)
    return structs.replace(record, owner=without_owner, group_permission="none", grants=(grant,))


def _step(name: str, *, counts: bool, gives: str = "", detail: str = "") -> dict[str, Any]:
    return {"step": name, "counts": counts, "gives": gives or None, "detail": detail or None}
