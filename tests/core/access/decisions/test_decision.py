"""Decisions: every act, with every kind of subject and of credential, against a table by hand."""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from core.access import (
    ACTS,
    AccessReason,
    AccessRule,
    Caller,
    CredentialFacts,
    Decision,
    Grant,
    Held,
    JobResource,
    Need,
    Permission,
    RecordOwner,
    Scope,
    ScopeResource,
    Subject,
    VFolderRecord,
    VFolderResource,
    decide,
    decide_rule,
    held,
)
from core.errors import InvalidParameters
from core.names import QuotaScope

NOW = 1_000_000.0
A, B, C, D, E, F, X, OP = (UUID(int=number) for number in range(1, 9))
NLP, CV = UUID(int=100), UUID(int=101)
VFOLDER = UUID(int=1000)
NONE, RO, RW, RWD, OWNER = Permission

# What each act needs, as the specification says it: the ends, their permission, the scopes.
# A change of `core/access/decisions/rules.py` that is not made here fails.
SELF = {
    "me.read": "",
    "signin.manage": "",
    "keys.read": "keys",
    "keys.manage": "keys",
    "vfolders.list": "",
    "uploads.list": "files:write",
    "links.list": "",
    "jobs.list": "jobs",
    "groups.read": "",
    "subjects.read": "shares:manage",
    "quotas.read": "",
    "volumes.list": "",
    "events.read": "",
    "notices.read": "",
    "audit.own": "",
}
ON_VFOLDER = {
    "vfolders.read": (RO, "files:read"),
    "vfolders.update": (OWNER, "vfolders:manage"),
    "vfolders.delete": (OWNER, "vfolders:manage files:delete"),
    "vfolders.restore": (OWNER, "vfolders:manage files:delete"),
    "vfolders.purge": (OWNER, "vfolders:manage files:delete"),
    "owner.offer": (OWNER, "vfolders:manage"),
    "grants.read": (RO, "files:read"),
    "grants.manage": (OWNER, "shares:manage"),
    "links.manage": (OWNER, "shares:manage"),
    "audit.vfolder": (OWNER, "vfolders:manage"),
    "entries.read": (RO, "files:read"),
    "entries.write": (RW, "files:write"),
    "entries.replace": (RWD, "files:write files:delete"),
    "entries.remove": (RWD, "files:delete"),
    "entries.purge": (OWNER, "files:delete"),
    "snapshots.read": (RO, "files:read"),
    "snapshots.create": (RW, "files:write"),
    "snapshots.manage": (OWNER, "vfolders:manage files:delete"),
    "jobs.delete-files": (RWD, "files:delete jobs"),
    "jobs.usage": (RO, "files:read jobs"),
    "jobs.find": (RO, "files:read jobs"),
}
#: Acts with two ends: what the source needs, what the target needs. OWNER is "create in a scope".
ON_TWO = {
    "snapshots.copy": ((RO, "files:read"), (OWNER, "vfolders:manage")),
    "jobs.clone": ((RO, "files:read jobs"), (OWNER, "vfolders:manage jobs")),
    "jobs.transfer": ((RO, "files:read jobs"), (RW, "files:write jobs")),
    "jobs.transfer-over": ((RO, "files:read jobs"), (RWD, "files:write jobs")),
    "jobs.transfer-mirror": ((RO, "files:read jobs"), (RWD, "files:write files:delete jobs")),
    "jobs.move": ((RWD, "files:read files:delete jobs"), (RW, "files:write jobs")),
    "jobs.move-over": ((RWD, "files:read files:delete jobs"), (RWD, "files:write jobs")),
    "jobs.extract": ((RO, "files:read jobs"), (RW, "files:write jobs")),
}
OPERATORS = {
    "jobs.rescan": "admin:write",
    "jobs.reindex": "admin:write",
    "jobs.adopt": "admin:write",
    "queue.read": "admin:read",
    "jobs.prioritize": "admin:write",
    "uploads.read": "admin:read",
    "uploads.steer": "admin:write",
    "trash.steer": "admin:write",
    "volumes.read": "admin:read",
    "volumes.examine": "admin:read",
    "volumes.steer": "admin:write",
    "nodes.read": "admin:read",
    "nodes.steer": "admin:write",
    "quotas.set": "admin:write",
    "groups.create": "admin:write",
    "users.read": "admin:read",
    "access.explain": "admin:read",
    "users.manage": "admin:write",
    "audit.read": "admin:read",
    "settings.read": "admin:read",
    "diagnostics.read": "admin:read",
    "vfolders.break-glass": "admin:write",
}
MANAGERS = {"mount.read", "access.forget", "access.check", "grants.replace"}
#: What an operator may look at without a permission.
LOOKS = {"vfolders.read", "grants.read"}
#: What the owner may still do after the end of a vfolder.
AFTER_END = {
    *("vfolders.update", "vfolders.delete", "vfolders.restore", "vfolders.purge"),
    *("owner.offer", "grants.manage", "links.manage", "audit.vfolder"),
}
IN_TRASH = {"vfolders.read", "vfolders.restore", "vfolders.purge"}
OTHERS = {
    *("vfolders.create", "owner.accept", "grants.leave", "groups.manage"),
    *("jobs.read", "jobs.steer", "link.read", "link.drop"),
}


def grant(name: str, to: str, permission: str, **more: object) -> Grant:
    return Grant(id=name, to=to, permission=permission, **more)


#: Owned by user A and shared in every way.
PRIVATE = VFolderRecord(
    id=VFOLDER,
    volume="local",
    scope=f"user:{A}",
    owner=RecordOwner(kind="user", id=A),
    grants=(
        grant("g-ro", f"user:{B}", "ro"),
        grant("g-rw", f"user:{C}", "rw", expires_at=NOW + 10),
        grant("g-rwd", f"user:{D}", "rwd"),
        grant("g-old", f"user:{E}", "rwd", expires_at=NOW),
        grant("g-group", f"group:{CV}", "rw"),
        grant("g-glass", f"operator:{OP}", "ro", source="break_glass", expires_at=NOW + 900),
    ),
)
#: Owned by the group NLP, whose members write; user B has another, smaller grant.
SHARED = VFolderRecord(
    id=VFOLDER,
    volume="local",
    scope=f"project:{NLP}",
    owner=RecordOwner(kind="group", id=NLP),
    group_permission="rw",
    grants=(
        grant("g-ro", f"user:{B}", "ro"),
        grant("g-low", f"user:{D}", "ro"),
        grant("g-forged", f"operator:{OP}", "rwd"),
    ),
)


def user(id_: UUID, *groups: UUID, admin: tuple[UUID, ...] = ()) -> Subject:
    return Subject(kind="user", id=id_, groups=frozenset(groups), admin_of=frozenset(admin))


OPERATOR = Subject(kind="operator", id=UUID(int=77))
SUBJECTS: dict[str, Subject] = {
    "owner": user(A),
    "reader": user(B),
    "writer": user(C),
    "remover": user(D),
    "expired grant": user(E),
    "grant to group": user(F, CV),
    "group admin of grant": user(F, admin=(CV,)),
    "member": user(X, NLP),
    "reading member": user(B, NLP),
    "group admin": user(X, NLP, admin=(NLP,)),
    "remover and group admin": user(D, NLP, admin=(NLP,)),
    "another": user(X),
    "blocked owner": structs.replace(user(A), blocked=True),
    "operator": OPERATOR,
    "operator with a reason": Subject(kind="operator", id=OP),
    "on behalf of the owner": structs.replace(user(A), on_behalf=True),
    "on behalf of another": structs.replace(user(X), on_behalf=True),
    "visitor of the owner": Subject(kind="link", maker=user(A)),
    "manager": Subject(kind="manager"),
}
#: What each subject has on the two vfolders.
HAS: dict[str, tuple[Permission, Permission]] = {
    "owner": (OWNER, NONE),
    "reader": (RO, RO),
    "writer": (RW, NONE),
    "remover": (RWD, RO),
    "expired grant": (NONE, NONE),
    "grant to group": (RW, NONE),
    "group admin of grant": (RW, NONE),
    "member": (NONE, RW),
    "reading member": (RO, RW),
    "group admin": (NONE, OWNER),
    "remover and group admin": (RWD, OWNER),
    "another": (NONE, NONE),
    "blocked owner": (NONE, NONE),
    "operator": (NONE, NONE),
    "operator with a reason": (RO, NONE),
    "on behalf of the owner": (OWNER, NONE),
    "on behalf of another": (NONE, NONE),
    "visitor of the owner": (OWNER, NONE),
    "manager": (NONE, NONE),
}
ALL = frozenset(Scope)
CREDENTIALS: dict[str, CredentialFacts] = {
    "all": CredentialFacts(kind="token", id="t", scopes=ALL),
    "none": CredentialFacts(kind="key", id="k", scopes=frozenset()),
    **{
        str(scope): CredentialFacts(kind="key", id="k", scopes=frozenset({scope}))
        for scope in Scope
    },
    **{
        f"all but {scope}": CredentialFacts(kind="cookie", id="c", scopes=ALL - {scope})
        for scope in Scope
    },
    "this vfolder": CredentialFacts(
        kind="key", id="k", scopes=ALL, vfolders=frozenset({VFOLDER}), expires_at=NOW + 5
    ),
    "another vfolder": CredentialFacts(
        kind="key", id="k", scopes=ALL, vfolders=frozenset({UUID(int=9)})
    ),
    "another volume": CredentialFacts(kind="key", id="k", scopes=ALL, volumes=frozenset({"other"})),
    "expired": CredentialFacts(kind="key", id="k", scopes=ALL, expires_at=NOW),
}
OUTSIDE = {"another vfolder", "another volume"}
STATES = {
    "live": {},
    "ended": {"expires_at": NOW - 1},
    "trashed": {},
}


def words(text: str) -> set[str]:
    return set(text.split())


def asked(rule: AccessRule, subject: str, credential: str, **resources: object) -> Decision:
    caller = Caller(subject=SUBJECTS[subject], credential=CREDENTIALS[credential])
    return decide_rule(caller, rule, resources, now=NOW)


def scoped(credential: str, text: str) -> bool:
    return words(text) <= CREDENTIALS[credential].scopes


def usable(subject: str, credential: str) -> bool:
    return credential != "expired" and subject != "blocked owner"


def vfolder_yes(act: str, subject: str, credential: str, has: Permission, state: str) -> bool:  # noqa: PLR0911 - one line for each sentence of the specification
    """The expected answer, sentence by sentence of the specification."""
    needed, scopes = ON_VFOLDER[act]
    if not usable(subject, credential):
        return False
    if subject == "manager":
        return True
    if subject.startswith("visitor") or credential in OUTSIDE:
        return False
    if subject.startswith("operator") and has is NONE and act in LOOKS:
        return scoped(credential, "admin:read") and (state != "trashed" or act in IN_TRASH)
    if state == "trashed" and not (act in IN_TRASH and has is OWNER):
        looks = subject.startswith("operator") and act in LOOKS & IN_TRASH
        return looks and scoped(credential, "admin:read")
    if state == "ended" and act not in AFTER_END:
        has = min(has, RO)
    if subject == "operator with a reason":
        return has >= needed and scoped(credential, "admin:read")
    return has >= needed and scoped(credential, scopes)


def cells_of_vfolders() -> Iterator[tuple[str, bool, Decision]]:
    for act, subject, credential, state in product(ON_VFOLDER, SUBJECTS, CREDENTIALS, STATES):
        for place, record in enumerate((PRIVATE, SHARED)):
            resource = VFolderResource(
                record=structs.replace(record, **STATES[state]), trashed=state == "trashed"
            )
            has = HAS[subject][place]
            expected = vfolder_yes(act, subject, credential, has, state)
            decision = asked(ACTS[act], subject, credential, vfolder=resource)
            yield f"{act} {subject} {credential} {state} {place}", expected, decision


def test_every_act_on_a_vfolder_is_decided_as_the_table_says() -> None:
    cells = list(cells_of_vfolders())
    wrong = [name for name, expected, decision in cells if decision.allowed is not expected]
    assert not wrong, f"{len(wrong)} of {len(cells)}: {wrong[:10]}"
    assert len(cells) > 20_000


def test_who_sees_nothing_gets_the_answer_of_an_absent_vfolder() -> None:
    """404 for a subject without permission; 403 with what is needed for all others."""
    wrong = []
    for act, subject, credential in product(ON_VFOLDER, SUBJECTS, CREDENTIALS):
        decision = asked(ACTS[act], subject, credential, vfolder=VFolderResource(record=PRIVATE))
        if decision.allowed or subject.startswith("operator"):
            continue
        sees = HAS[subject][0] is not NONE and usable(subject, credential)
        sees = sees and credential not in OUTSIDE and not subject.startswith("visitor")
        if decision.hidden is sees:
            wrong.append(f"{act} {subject} {credential}")
        absent = asked(ACTS[act], subject, credential, vfolder=VFolderResource(record=None))
        assert absent.hidden or subject == "manager"
        assert subject == "manager" or absent.facts["have"] == "none"
    assert not wrong, wrong[:10]


def ends_yes(act: str, subject: str, credential: str, has: tuple[Permission, Permission]) -> bool:
    (source_needs, source_scopes), (target_needs, target_scopes) = ON_TWO[act]
    creates = target_needs is OWNER
    if subject == "manager":
        return credential != "expired"
    return (
        usable(subject, credential)
        and credential not in OUTSIDE
        and not (creates and credential == "this vfolder")
        and not subject.startswith(("visitor", "operator"))
        and has[0] >= source_needs
        and has[1] >= target_needs
        and scoped(credential, f"{source_scopes} {target_scopes}")
    )


@pytest.mark.parametrize("state", STATES)
def test_both_ends_of_a_copy_are_decided(state: str) -> None:
    wrong = []
    for act, subject, credential in product(ON_TWO, SUBJECTS, CREDENTIALS):
        for source, target, places in ((PRIVATE, SHARED, (0, 1)), (SHARED, PRIVATE, (1, 0))):
            changes, trashed = STATES[state], state == "trashed"
            ends = {
                "source": VFolderResource(
                    record=structs.replace(source, **changes), trashed=trashed
                ),
                "target": VFolderResource(
                    record=structs.replace(target, **changes), trashed=trashed
                ),
                "scope": ScopeResource(scope=QuotaScope.parse(target.scope), volume="local"),
            }
            has = tuple(HAS[subject][place] for place in places)
            if state == "ended":  # what is made in a scope does not end with another vfolder
                creates = ON_TWO[act][1][0] is OWNER
                has = (min(has[0], RO), has[1] if creates else min(has[1], RO))
            yes = ends_yes(act, subject, credential, has)
            yes = yes and (state != "trashed" or subject == "manager")
            if asked(ACTS[act], subject, credential, **ends).allowed is not yes:
                wrong.append(f"{act} {subject} {credential} {places}")
    assert not wrong, f"{len(wrong)}: {wrong[:10]}"


def test_what_is_ones_own_needs_a_credential_with_its_scope_only() -> None:
    for act, subject, credential in product(SELF, SUBJECTS, CREDENTIALS):
        expected = usable(subject, credential) and not subject.startswith("visitor")
        expected = expected and (scoped(credential, SELF[act]) or subject == "manager")
        assert asked(ACTS[act], subject, credential).allowed is expected, (act, subject, credential)


def test_acts_of_operators_and_of_the_manager_are_theirs_alone() -> None:
    for act, subject, credential in product(OPERATORS, SUBJECTS, CREDENTIALS):
        operator = subject.startswith("operator") and scoped(credential, OPERATORS[act])
        expected = usable(subject, credential) and (operator or subject == "manager")
        assert asked(ACTS[act], subject, credential).allowed is expected, (act, subject, credential)
    for act, subject, credential in product(MANAGERS, SUBJECTS, CREDENTIALS):
        expected = subject == "manager" and credential != "expired"
        assert asked(ACTS[act], subject, credential).allowed is expected, (act, subject, credential)


def test_the_table_has_these_rows_and_no_other() -> None:
    assert set(ACTS) == {*SELF, *ON_VFOLDER, *ON_TWO, *OPERATORS, *MANAGERS, *OTHERS}
    assert all(rule.text and rule.summary for rule in ACTS.values())


@pytest.mark.parametrize(
    ("subject", "scope", "members", "yes", "hidden"),
    [
        ("owner", f"user:{A}", False, True, False),
        ("owner", f"user:{B}", False, False, True),
        ("owner", f"project:{A}", False, False, True),
        ("member", f"project:{NLP}", False, False, False),
        ("member", f"project:{NLP}", True, True, False),
        ("group admin", f"project:{NLP}", False, True, False),
        ("another", f"project:{NLP}", True, False, True),
        ("operator", f"user:{A}", False, False, True),
    ],
)
def test_a_vfolder_is_made_in_ones_own_scope(
    *, subject: str, scope: str, members: bool, yes: bool, hidden: bool
) -> None:
    place = ScopeResource(scope=QuotaScope.parse(scope), volume="local", members_may=members)
    decision = asked(ACTS["vfolders.create"], subject, "all", scope=place)
    assert (decision.allowed, decision.hidden) == (yes, hidden)
    assert not asked(ACTS["vfolders.create"], subject, "files:read", scope=place).allowed
    assert not asked(ACTS["vfolders.create"], subject, "another volume", scope=place).allowed
    # The same persons change a group that is kept here, and operators do.
    lacks = asked(ACTS["groups.manage"], subject, f"all but {Scope.SHARES_MANAGE}", scope=place)
    may = asked(ACTS["groups.manage"], subject, "all", scope=place)
    assert (may.allowed, lacks.allowed) == (yes or subject == "operator", subject == "operator")


@pytest.mark.parametrize(
    ("subject", "requester", "look", "steer"),
    [
        ("owner", f"user:{A}", True, True),
        ("owner", f"user:{X}", True, True),  # the owner of the target
        ("reader", f"user:{A}", True, False),
        ("remover", f"user:{A}", True, False),
        ("another", f"user:{A}", False, False),
        ("another", f"user:{X}", True, True),  # its own job, also after its right is gone
        ("operator", f"user:{A}", True, True),
        ("blocked owner", f"user:{A}", False, False),
        ("visitor of the owner", f"user:{A}", False, False),
        ("manager", f"user:{A}", True, True),
    ],
)
def test_a_job_is_for_its_requester_and_for_who_sees_all_it_names(
    *, subject: str, requester: str, look: bool, steer: bool
) -> None:
    place = VFolderResource(record=PRIVATE)
    job = JobResource(requester=requester, vfolders=(place,), target=place)
    assert asked(ACTS["jobs.read"], subject, "all", job=job).allowed is look
    assert asked(ACTS["jobs.steer"], subject, "all", job=job).allowed is steer
    for act in ("jobs.read", "jobs.steer"):
        lacks = asked(ACTS[act], subject, f"all but {Scope.JOBS}", job=job).allowed
        assert lacks is (subject in ("operator", "manager"))
    elsewhere = VFolderResource(record=None)
    two = JobResource(requester=f"user:{F}", vfolders=(place, elsewhere), target=elsewhere)
    sees_all = subject in ("operator", "manager")
    assert asked(ACTS["jobs.read"], subject, "all", job=two).allowed is sees_all
    named_nothing = JobResource(requester=f"user:{F}")
    assert asked(ACTS["jobs.read"], subject, "all", job=named_nothing).allowed is sees_all


def test_a_bound_key_sees_jobs_about_its_vfolders_only() -> None:
    """It is for one vfolder; what its user does elsewhere is none of its business."""
    gone = VFolderResource(record=None)
    places = (("local", VFOLDER),), (("local", UUID(int=9)),), (("local", VFOLDER), ("b", VFOLDER))
    cases: list[tuple[dict[str, Any], tuple[bool, ...]]] = [
        ({"vfolders": frozenset({VFOLDER})}, (True, False, True)),
        ({"volumes": frozenset({"local"})}, (True, True, False)),
        ({}, (True, True, True)),
    ]
    for bounds, seen in cases:
        facts = CredentialFacts(kind="key", id="k", scopes=frozenset({Scope.JOBS}), **bounds)
        caller = Caller(subject=user(A), credential=facts)
        for act in ("jobs.read", "jobs.steer"):
            need = ACTS[act].needs[0]
            found = [
                decide(caller, need, JobResource(requester=f"user:{A}", places=p), now=NOW)
                for p in places
            ]
            assert tuple(one.allowed for one in found) == seen
            assert all(one.hidden for one in found if not one.allowed)
    job = JobResource(requester=f"user:{A}", vfolders=(gone,), target=gone)
    assert decide(caller, ACTS["jobs.read"].needs[0], job, now=NOW).allowed


def visitor(maker: Subject | None, *scopes: Scope, vfolder: UUID = VFOLDER) -> Caller:
    return Caller(
        subject=Subject(kind="link", maker=maker),
        credential=CredentialFacts(
            kind="link", id="vfl_12", scopes=frozenset(scopes), vfolders=frozenset({vfolder})
        ),
    )


@pytest.mark.parametrize(
    ("maker", "act", "scope", "yes"),
    [
        (user(A), "link.read", Scope.FILES_READ, True),
        (user(A), "link.drop", Scope.FILES_WRITE, True),
        (user(A), "link.read", Scope.FILES_WRITE, False),  # who drops does not look
        (user(A), "link.drop", Scope.FILES_READ, False),
        (user(B), "link.read", Scope.FILES_READ, True),
        (user(B), "link.drop", Scope.FILES_WRITE, False),  # the maker reads only
        (user(E), "link.read", Scope.FILES_READ, False),  # the grant of the maker has ended
        (user(X), "link.read", Scope.FILES_READ, False),
        (structs.replace(user(A), blocked=True), "link.read", Scope.FILES_READ, False),
        (None, "link.read", Scope.FILES_READ, False),
    ],
)
def test_a_link_never_exceeds_what_its_maker_may_now(
    *, maker: Subject | None, act: str, scope: Scope, yes: bool
) -> None:
    here = {"vfolder": VFolderResource(record=PRIVATE)}
    decision = decide_rule(visitor(maker, scope), ACTS[act], here, now=NOW)
    assert decision.allowed is yes
    assert decision.hidden is not yes
    ended = VFolderResource(record=structs.replace(PRIVATE, expires_at=NOW))
    after = decide_rule(visitor(maker, scope), ACTS[act], {"vfolder": ended}, now=NOW)
    assert after.allowed is (yes and act == "link.read")
    trashed = VFolderResource(record=PRIVATE, trashed=True)
    assert not decide_rule(visitor(maker, scope), ACTS[act], {"vfolder": trashed}, now=NOW).allowed
    elsewhere = visitor(maker, scope, vfolder=UUID(int=9))
    assert not decide_rule(elsewhere, ACTS[act], here, now=NOW).allowed
    for other in set(ACTS) - {"link.read", "link.drop"}:
        refused = decide_rule(visitor(maker, *Scope), ACTS[other], here, now=NOW)
        assert not refused.allowed, other


def test_people_of_the_record_leave_and_accept() -> None:
    offered = structs.replace(PRIVATE, next_owner=f"user:{B}")
    to_group = structs.replace(PRIVATE, next_owner=f"group:{NLP}")
    for record, subject, act, yes in (
        (offered, "reader", "owner.accept", True),
        (offered, "owner", "owner.accept", False),
        (offered, "writer", "owner.accept", False),
        (PRIVATE, "reader", "owner.accept", False),
        (to_group, "group admin", "owner.accept", True),
        (to_group, "member", "owner.accept", False),
        (PRIVATE, "reader", "grants.leave", True),
        (PRIVATE, "grant to group", "grants.leave", False),
        (PRIVATE, "expired grant", "grants.leave", False),
        (PRIVATE, "owner", "grants.leave", False),
    ):
        place = VFolderResource(record=record)
        assert asked(ACTS[act], subject, "all", vfolder=place).allowed is yes, (subject, act)
        scope = "vfolders:manage" if act == "owner.accept" else "shares:manage"
        assert not asked(ACTS[act], subject, f"all but {scope}", vfolder=place).allowed
        trashed = VFolderResource(record=record, trashed=True)
        assert not asked(ACTS[act], subject, "all", vfolder=trashed).allowed


def test_a_grant_of_the_manager_is_not_given_back_by_people() -> None:
    managed = structs.replace(PRIVATE, grants=(grant("m", f"user:{B}", "rw", source="manager"),))
    decision = asked(ACTS["grants.leave"], "reader", "all", vfolder=VFolderResource(record=managed))
    assert (decision.allowed, decision.hidden) == (False, False)


@pytest.mark.parametrize(
    ("subject", "credential", "record", "end"),
    [
        ("writer", "all", PRIVATE, NOW + 10),
        ("writer", "this vfolder", PRIVATE, NOW + 5),
        ("writer", "all", structs.replace(PRIVATE, expires_at=NOW + 3), NOW + 3),
        ("owner", "all", PRIVATE, None),
        ("owner", "all", structs.replace(PRIVATE, expires_at=NOW + 3), NOW + 3),
    ],
)
def test_a_decision_ends_when_it_may_change(
    subject: str, credential: str, record: VFolderRecord, end: float | None
) -> None:
    decision = asked(
        ACTS["entries.write"], subject, credential, vfolder=VFolderResource(record=record)
    )
    assert (decision.allowed, decision.expires_at) == (True, end)


def test_of_two_grants_the_greater_counts_and_of_equal_ones_the_longer() -> None:
    record = structs.replace(
        PRIVATE,
        grants=(
            grant("short", f"user:{B}", "rw", expires_at=NOW + 1),
            grant("long", f"group:{CV}", "rw"),
            grant("low", f"user:{B}", "ro"),
        ),
    )
    assert held(user(B, CV), record, NOW) == Held(permission=RW, via="grant:long")
    assert held(user(B), record, NOW).via == "grant:short"
    assert held(user(B), record, NOW + 1).permission is RO


@pytest.mark.parametrize("decider", ["callout", "both"])
def test_a_policy_service_that_does_not_answer_is_a_no(decider: str) -> None:
    silent = VFolderResource(record=PRIVATE, decider=decider)
    for subject in set(SUBJECTS) - {"manager"}:
        assert not asked(ACTS["entries.read"], subject, "all", vfolder=silent).allowed


def test_of_two_deciders_the_lesser_counts() -> None:
    def reply(decider: str, permission: Permission, subject: str) -> Permission:
        answer = Held(permission=permission, via="callout", expires_at=NOW + 30)
        resource = VFolderResource(record=PRIVATE, decider=decider, answer=answer)
        return asked(ACTS["entries.read"], subject, "all", vfolder=resource).permission

    assert reply("both", OWNER, "reader") is RO
    assert reply("both", RO, "owner") is RO
    assert reply("both", OWNER, "another") is NONE
    assert reply("callout", RWD, "another") is RWD
    assert reply("callout", NONE, "owner") is NONE
    assert reply("local", NONE, "owner") is OWNER


def test_a_refusal_says_what_is_needed_and_what_there_is() -> None:
    decision = asked(
        ACTS["entries.write"], "reader", "all", vfolder=VFolderResource(record=PRIVATE)
    )
    assert decision.facts == {"needed": "rw", "have": "ro", "reason": "low_permission"}
    ended = VFolderResource(record=structs.replace(PRIVATE, expires_at=NOW))
    decision = asked(ACTS["entries.write"], "owner", "all", vfolder=ended)
    assert (decision.reason, decision.permission) == (AccessReason.VFOLDER_EXPIRED, RO)


def test_a_role_that_was_not_read_is_absent() -> None:
    for rule in ACTS.values():
        for subject in set(SUBJECTS) - {"manager"}:
            decision = asked(rule, subject, "all")
            only_self = all(need.role in ("self", "server") for need in rule.needs)
            assert only_self or not decision.allowed


def test_words_of_permissions() -> None:
    assert [Permission.parse(word) for word in ("none", "ro", "rw", "rwd", "owner")] == [
        *Permission
    ]
    assert Permission.parse("wd") is RWD
    assert [permission.word for permission in Permission] == ["none", "ro", "rw", "rwd", "owner"]
    for wrong in ("", "RO", "x", "owner "):
        with pytest.raises(InvalidParameters):
            Permission.parse(wrong)


def test_a_need_without_a_resource_of_its_kind_is_refused() -> None:
    caller = Caller(subject=SUBJECTS["owner"], credential=CREDENTIALS["all"])
    assert not decide(caller, Need(permission=RO), None, now=NOW).allowed


def test_the_documents_have_the_table_of_acts() -> None:
    text = (Path(__file__).parents[4] / "docs" / "access.md").read_text("utf-8")
    for rule in ACTS.values():
        assert f"| `{rule.name}` | {rule.summary} | {rule.text} |" in text
    documented = re.findall(r"^\| `([a-z]+\.[a-z-]+)` \|", text, re.MULTILINE)
    assert documented == list(ACTS)
