"""Every verb for every kind of subject, as a worker decides it again before the run."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from msgspec import structs

from core.access import ACTS, PersonClaims, records
from core.access.credentials import keys
from core.cluster import NodeStore
from core.errors import JobNotPermitted
from core.jobs import Job
from core.jobs.requests import VERBS, parse
from core.names import VFolderId
from core.redis import Database, connect
from tests.api.people.conftest import grant_to
from tests.api.people.matrix.actors import Actor, refused, unmet
from tests.api.people.matrix.conftest import EVERYTHING, Matrix, Stage
from tests.api.people.matrix.deeds import DEEDS
from tests.api.people.matrix.rows import ROWS
from tests.api.people.matrix.tickets import TICKET_ROWS
from workers.run.requester import Requesters, requesters

_ID = "00000000-0000-4000-8000-000000000001"
_MOVE = {"remove_source": True, "keep_seconds": 60.0}
#: A verb with its members, and the act that it is for the one who requested it.
CASES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("delete", {}, "vfolders.delete"),
    ("delete-files", {"paths": ["a.txt"], "keep_seconds": 60.0}, "jobs.delete-files"),
    ("delete-files", {"paths": ["a.txt"], "keep_seconds": 0.0}, "entries.purge"),
    ("usage", {}, "jobs.usage"),
    ("find", {}, "jobs.find"),
    ("extract", {"source": "b.tar", "target": "t", "archive": "tar"}, "jobs.extract"),
    ("restore", {"trash": _ID, "entries": True}, "entries.remove"),
    ("purge", {"trash": _ID, "entries": True}, "entries.purge"),
    ("snapshot", {"action": "create", "name": "s"}, "snapshots.create"),
    ("snapshot", {"action": "list"}, "snapshots.read"),
    ("snapshot", {"action": "delete", "name": "s"}, "snapshots.manage"),
    ("snapshot", {"action": "restore", "name": "s"}, "snapshots.manage"),
    ("snapshot", {"action": "restore", "name": "s", "target": "{own}"}, "snapshots.copy"),
    ("snapshot", {"action": "restore", "name": "s", "target": "{others}"}, "refused"),
    ("clone", {"source": "{source}", "target": "{own}"}, "jobs.clone"),
    ("clone", {"source": "{source}", "target": "{others}"}, "refused"),
    ("transfer", {"source": "{source}", "target": "{target}"}, "jobs.transfer"),
    (
        "transfer",
        {"source": "{source}", "target": "{target}", "on_conflict": "replace"},
        "jobs.transfer-over",
    ),
    (
        "transfer",
        {"source": "{source}", "target": "{target}", "on_conflict": "newer"},
        "jobs.transfer-over",
    ),
    (
        "transfer",
        {"source": "{source}", "target": "{target}", "delete_extra": True},
        "jobs.transfer-mirror",
    ),
    ("transfer", {"source": "{source}", "target": "{target}", **_MOVE}, "jobs.move"),
    (
        "transfer",
        {"source": "{source}", "target": "{target}", **_MOVE, "on_conflict": "newer"},
        "jobs.move-over",
    ),
    ("rescan", {}, "refused"),
    ("adopt", {"owner": f"user:{_ID}", "limit_bytes": 1}, "refused"),
)
#: Jobs of the manager and of the cluster itself; people have no way to request them.
NOT_OF_PEOPLE = {"assist", "describe", "import"}
#: What each actor has on the target, in turns.
ON_TARGET = ("none", "ro", "rw", "rwd")
#: Acts that are asked at the manager door, by links, or in tests of their own.
ELSEWHERE = {
    *(act for act, rule in ACTS.items() if rule.manager_door),
    *("link.read", "link.drop", "jobs.adopt", "jobs.reindex", "audit.vfolder"),
}


@pytest.fixture(scope="module", name="worker")
def decisions_of_a_worker(matrix: Matrix) -> Requesters:
    settings = matrix.people.settings
    return requesters(settings, NodeStore(connect(settings, Database.JOBS)))


@pytest.fixture(scope="module", name="targets")
def vfolders_to_write_to(matrix: Matrix) -> dict[str, VFolderId]:
    """By the name of a stage: another vfolder of its owner."""
    found = {}
    for stage in matrix.stages:
        owner, *others = stage.actors
        vfolder = matrix.people.vfolder(owner.person, **{"a.txt": "x"})
        grants = [
            grant_to(one.person.word, has)
            for one in others
            if (has := on_target(stage, one)) != "none"
        ]
        record = structs.replace(
            records.implied("local", vfolder), grants=tuple(grants), revision=1
        )
        matrix.people.write(record, vfolder)
        found[stage.name] = vfolder
    return found


def on_target(stage: Stage, actor: Actor) -> str:
    """What an actor has on the target; the owner of the stage made it."""
    number = [one.person for one in stage.actors].index(actor.person)
    return ON_TARGET[number % len(ON_TARGET)] if number else "owner"


def test_each_verb_is_in_the_table() -> None:
    assert {verb for verb, _, _ in CASES} | NOT_OF_PEOPLE == set(VERBS)


def test_each_act_is_in_a_cell() -> None:
    asked = {act.rstrip("?") for row in ROWS for act in (*row.acts, *row.of_operators.split())}
    asked |= {act for deed in DEEDS for act in deed.acts.split()}
    asked |= {row.act for row in TICKET_ROWS} | {act for _, _, act in CASES} | ELSEWHERE
    assert set(ACTS) - asked == set()


def cells(stage: Stage) -> Iterator[tuple[Actor, PersonClaims, bool]]:
    """Each actor as the requester of a job by its key, or else by its token."""
    for actor in stage.actors:
        word = f"{'operator' if actor.kind == 'operator' else 'user'}:{actor.person.id}"
        key = actor.person.key
        credential = f"key:{keys.parsed(key).id}" if key else "token:t"
        groups = [] if key else [stage.of_tokens]
        yield actor, PersonClaims(sub=word, cid=credential, groups=groups), actor.means[0].proved


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_worker_decides_as_the_table_says(
    matrix: Matrix,
    worker: Requesters,
    targets: dict[str, VFolderId],
    case: tuple[str, dict[str, Any], str],
) -> None:
    (verb, members, act), wrong = case, []
    for stage in matrix.stages:
        for actor, claims, proved in cells(stage):
            body = {"volume": "local", "verb": verb, **members}
            if "source" not in members or verb == "extract":
                body |= {} if verb in ("rescan", "adopt") else {"vfolder": str(stage.vfolder)}
            names = {
                "{source}": str(stage.vfolder),
                "{target}": str(targets[stage.name]),
                "{own}": f"user:{actor.person.id}/{uuid4()}",
                "{others}": f"user:{uuid4()}/{uuid4()}",
            }
            body = {
                key: names.get(value, value) if isinstance(value, str) else value
                for key, value in body.items()
            }
            allowed = is_allowed(worker, body, claims)
            if allowed is not (proved and may(stage, actor, act)):
                wrong.append(f"{actor.name}: {'allowed' if allowed else 'refused'}")
    assert not wrong, "\n".join(wrong)


def may(stage: Stage, actor: Actor, act: str) -> bool:
    """Whether the table permits an act; the scopes of the credential counted at the door."""
    if act == "refused":
        return False
    means = replace(actor.means[0], scopes=EVERYTHING)
    rule = ACTS[act]
    if "target" not in {need.role for need in rule.needs} or act == "jobs.extract":
        return refused(act, actor, means) == 0
    there = replace(actor, permission=on_target(stage, actor), expired=False)
    return not any(
        unmet(need, there if need.role == "target" else actor, means) for need in rule.needs
    )


def is_allowed(worker: Requesters, body: dict[str, Any], claims: PersonClaims) -> bool:
    request = parse(body)
    fields = {
        "id": _ID,
        "verb": body["verb"],
        "volume": "local",
        "lane": "fast",
        "scope": "",
        "state": "running",
        **dict.fromkeys(("seq", "version", "attempt", "losses", "priority"), "1"),
        "person": msgspec.json.encode(claims).decode(),
    }
    try:
        worker.check(Job.from_fields(fields), request)
    except JobNotPermitted:
        return False
    return True
