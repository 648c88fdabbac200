"""Who decides: the records of this service, a policy service, or both.

The records are read before. Here each vfolder of a request gets the answer of the policy service,
where the settings name one; `decide` is then a pure function of both.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, structs

from core.access.cache import AccessCache, record_key, user_key
from core.access.decisions.decision import (
    Decision,
    Held,
    JobResource,
    ProtectedResource,
    VFolderResource,
)
from core.access.decisions.decision import decide_rule as decide_read
from core.access.decisions.rules import AccessRule, Need
from core.access.permissions import Permission
from core.access.subjects import Caller
from core.errors import AccessUnavailable
from core.settings import AccessTable


class Question(Struct, frozen=True, kw_only=True):
    """A vfolder that a need is about, and the permission that is needed there."""

    role: str
    at: int
    resource: VFolderResource
    need: Permission


class Deciders:
    """The deciders of one process; made after the fork. Safe for threads."""

    def __init__(self, table: AccessTable, directory: Path, cache: AccessCache) -> None:
        self._table = table
        self._cache = cache
        if table.decider != "local":
            from core.access.decisions.callout import Callout  # noqa: PLC0415 - loads urllib3

            self._callout = Callout(table.callout, directory)

    def decide_rule(
        self,
        caller: Caller,
        rule: AccessRule,
        resources: Mapping[str, ProtectedResource],
        *,
        now: float | None = None,
    ) -> Decision:
        """Decide all needs of a row; see `core.access.decide_rule`.

        Raises:
            AccessUnavailable: the policy service does not answer, and the settings refuse then.
        """
        return decide_read(caller, rule, self.answered(caller, rule, resources), now=now)

    def answered(
        self, caller: Caller, rule: AccessRule, resources: Mapping[str, ProtectedResource]
    ) -> dict[str, ProtectedResource]:
        """Return the resources with the answers of the policy service, by one call for all.

        Raises:
            AccessUnavailable: as `decide_rule`.
        """
        given = dict(resources)
        if self._table.decider == "local" or caller.subject.kind == "manager":
            return given
        questions = [
            question for need in rule.needs for question in _questions(need, given.get(need.role))
        ]
        answers = self._ask(caller, rule.name, questions)
        for question, resource in zip(questions, answers, strict=True):
            given[question.role] = _replaced(given[question.role], question.at, resource)
        return given

    def permissions(
        self, caller: Caller, action: str, found: Sequence[VFolderResource]
    ) -> list[VFolderResource]:
        """Return vfolders of a list with the answers of the policy service: who may read them.

        Raises:
            AccessUnavailable: as `decide_rule`.
        """
        if self._table.decider == "local" or caller.subject.kind == "manager":
            return list(found)
        questions = [
            Question(role="vfolder", at=at, resource=one, need=Permission.RO)
            for at, one in enumerate(found)
        ]
        return self._ask(caller, action, questions)

    def _ask(
        self, caller: Caller, action: str, questions: Sequence[Question]
    ) -> list[VFolderResource]:
        if not questions:
            return []
        try:
            held = self._held(caller, action, questions)
        except AccessUnavailable:
            if self._table.callout.on_failure != "local":
                raise
            return [structs.replace(one.resource, fallback=True) for one in questions]
        return [
            structs.replace(question.resource, decider=self._table.decider, answer=answer)
            for question, answer in zip(questions, held, strict=True)
        ]

    def _held(self, caller: Caller, action: str, questions: Sequence[Question]) -> list[Held]:
        from core.access.decisions.callout import Check  # noqa: PLC0415 - loads urllib3

        maker = caller.subject.maker
        caller = structs.replace(caller, subject=maker) if maker else caller
        checks, items = [], []
        for question in questions:
            record = question.resource.record
            if record is None:
                raise AssertionError("a vfolder that is absent is no question")
            checks.append(
                Check(
                    volume=record.volume,
                    scope=record.scope,
                    vfolder=str(record.id),
                    need=question.need,
                )
            )
            counters = [record_key(record.volume, record.id).version]
            if caller.subject.id is not None:
                counters.append(user_key(caller.subject.id).version)
            items.append((_named(caller, action, checks[-1]), counters))

        def ask(missing: list[int]) -> list[tuple[Held, float]]:
            said = self._callout.ask(caller, action, [checks[at] for at in missing])
            return [(answer.held, answer.ttl_seconds) for answer in said]

        return self._cache.answers(items, ask)


def _named(caller: Caller, action: str, check: object) -> tuple[str, ...]:
    subject, credential = caller.subject, caller.credential
    groups = ",".join(sorted(str(group) for group in subject.groups))
    who = (subject.word, groups, credential.kind, credential.id)
    return ("callout", *who, action, repr(check))


def _questions(need: Need, resource: ProtectedResource) -> list[Question]:
    """Return what a need asks of the policy service: nothing about what is absent."""
    found: list[tuple[int, VFolderResource | None, Permission]]
    match resource:
        case VFolderResource():
            found = [(0, resource, max(need.permission, Permission.RO))]
        case JobResource():
            found = [(at, one, Permission.RO) for at, one in enumerate(resource.vfolders)]
            found.append((-1, resource.target, Permission.OWNER))
        case _:
            found = []
    return [
        Question(role=need.role, at=at, resource=one, need=permission)
        for at, one, permission in found
        if one is not None and one.record is not None
    ]


def _replaced(resource: ProtectedResource, at: int, answered: VFolderResource) -> ProtectedResource:
    if not isinstance(resource, JobResource):
        return answered
    if at < 0:
        return structs.replace(resource, target=answered)
    vfolders = list(resource.vfolders)
    vfolders[at] = answered
    return structs.replace(resource, vfolders=tuple(vfolders))
