"""The explanation of a decision: who may do what on one vfolder, and why. Nothing is done."""

from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

from api.access.records import AmbiguousReference
from backends.volumes.access import AccessRecords, KnownVFolder
from core.access import ACTS, Caller, Deciders, VFolderResource, explained
from core.errors import VFolderNotFound
from core.names import moment_or_none

NO_VFOLDER = "There is no such vfolder."


def the_one(found: Iterable[KnownVFolder]) -> KnownVFolder:
    """Return the vfolder that a reference names.

    Raises:
        VFolderNotFound: there is none.
        AmbiguousReference: there are several.
    """
    known = list(found)
    if not known:
        raise VFolderNotFound(NO_VFOLDER)
    if len(known) > 1:
        raise AmbiguousReference(
            "The id is on several volumes; write one of `choices` in its place.",
            choices=sorted(f"{one.volume}:{one.vfolder.id}" for one in known),
        )
    return known[0]


def explanation(
    caller: Caller, act: str, reference: str, records: AccessRecords, deciders: Deciders
) -> dict[str, Any]:
    """Return a decision about one vfolder as a document, with every step that led to it.

    Args:
        caller: who would do it, with the credential that it would have.
        act: a row of `ACTS` that needs one vfolder.
        reference: the id of the vfolder, or `VOLUME:ID`.
        records: finds the vfolder.
        deciders: ask the policy service, where there is one.

    Raises:
        VFolderNotFound, AmbiguousReference: see `the_one`.
        AccessUnavailable: the policy service is away.
    """
    user = cast("UUID", caller.subject.id)
    known = the_one(records.find(reference, user))
    rule = ACTS[act]
    role = rule.needs[0].role
    answered = deciders.answered(caller, rule, {role: VFolderResource(record=known.record)})
    decision, steps = explained(caller, rule, cast("VFolderResource", answered[role]))
    return {
        "allowed": decision.allowed,
        "permission": decision.permission.word,
        "needed": decision.needed.word,
        "via": decision.via,
        "reason": decision.reason.value,
        "hidden": decision.hidden,
        "decider": decision.decider,
        "expires_at": moment_or_none(decision.expires_at),
        "steps": steps,
    }
