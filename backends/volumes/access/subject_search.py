"""Search of users and groups to share with: those near the caller, and others by the whole name.

No caller collects a list of all users: those who are not near are found by whole names alone.
"""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from backends.volumes.access.subject_index import IndexView
from core.access import Subject, records


class FoundSubject(NamedTuple):
    """A user or a group; the name is empty where it is not known here."""

    kind: str
    id: UUID
    name: str


class KnownGroup(NamedTuple):
    """A group; the name is empty where it is not known here."""

    id: UUID
    name: str
    #: Whether its members are kept here; otherwise tokens name them.
    members_kept: bool
    links_allowed: bool


def known_groups(view: IndexView, groups: Iterable[UUID]) -> list[KnownGroup]:
    """Return groups by name, those without one last."""
    found = []
    for group in groups:
        summary = view.summaries.get(group)
        kept = summary is not None and summary.members_kept
        allowed = summary is None or summary.links_allowed
        found.append(KnownGroup(group, summary.name if summary else "", kept, allowed))
    return sorted(found, key=lambda one: (not one.name, records.name_key(one.name), str(one.id)))


def found_subjects(view: IndexView, caller: Subject, text: str, limit: int) -> list[FoundSubject]:
    """Return what has exactly this name, then groups of the caller and members that a text names.

    A part of a name is enough for these, and the beginning of an id. An empty text finds them all.
    So a name that several have is never one in a list that was cut.
    The caller itself and blocked users are left out. Costs one look at each of them.
    """
    wanted = records.name_key(text.strip())
    groups = caller.groups | caller.admin_of
    members = (view.summaries[one].members for one in groups if one in view.summaries)
    near = groups.union(*members)
    close = [one for one in _named(view, caller, near) if _is_meant(one, wanted)]
    others = set(view.named.get(wanted, ())) | _identities(view, wanted)
    exact = _named(view, caller, others - near)
    found = sorted([*close, *exact], key=_order)
    same = [one for one in found if wanted and records.name_key(one.name) == wanted]
    return [*same, *(one for one in found if one not in same)][:limit]


def _named(view: IndexView, caller: Subject, subjects: Iterable[UUID]) -> list[FoundSubject]:
    found = []
    for subject in subjects:
        summary = view.summaries.get(subject)
        if subject == caller.id or (summary is not None and summary.blocked):
            continue
        if summary is not None:
            found.append(FoundSubject(summary.kind, subject, summary.name))
        else:  # tokens alone name it: a member without a key, or a group
            is_group = subject in caller.groups | caller.admin_of
            found.append(FoundSubject("group" if is_group else "user", subject, ""))
    return found


def _is_meant(one: FoundSubject, wanted: str) -> bool:
    return wanted in records.name_key(one.name) or str(one.id).startswith(wanted)


def _identities(view: IndexView, text: str) -> set[UUID]:
    try:
        return {UUID(text)} & view.summaries.keys()
    except ValueError:
        return set()


def _order(one: FoundSubject) -> tuple[bool, str, str]:
    return not one.name, records.name_key(one.name), str(one.id)
