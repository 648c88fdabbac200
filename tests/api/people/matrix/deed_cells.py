"""Changes asked by every kind of subject: what was allowed is so afterwards, and nothing else is.

The effect is looked for on the disk, or in the record of the vfolder, user or group.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs

from core.access import records
from tests.api.people.conftest import grant_to
from tests.api.people.matrix.actors import Actor, Means, expected
from tests.api.people.matrix.conftest import Matrix, Stage, record_of
from tests.api.people.matrix.deeds import DEEDS, Deed, Ground
from tests.api.people.matrix.routes import USUAL, scopes_of
from tests.api.people.matrix.rows import Row
from tests.support.node import wait_for
from tests.support.thoroughness import THOROUGH


def row_of(deed: Deed) -> Row:
    method, _, path = deed.asked.partition(" ")
    return Row(method, path, tuple(deed.acts.split()), deed.status, deed.body, deed.headers)


def chosen(deed: Deed, stage: Stage) -> Iterator[tuple[Actor, Means]]:
    """Each actor with one of the usual credentials in turns, and the keys that lack a scope."""
    first, needed = DEEDS.index(deed), scopes_of(row_of(deed))
    for number, actor in enumerate(stage.actors):
        common = actor.means[:USUAL]
        some = common if THOROUGH else (common[(first + number) % len(common)],)
        own = [one for one in actor.means[USUAL:] if one.lacks in needed or not one.own_page]
        yield from ((actor, one) for one in (*some, *own))


def ground(matrix: Matrix, stage: Stage, deed: Deed, actor: Actor) -> Ground:
    """A new vfolder as that of the stage."""
    people, owner = matrix.people, stage.actors[0]
    place = stage.vfolder.scope.id if stage.vfolder.scope and owner.in_group else owner.person
    vfolder = people.vfolder(place, **{"a.txt": "of a", "b.txt": "of b"})
    known = record_of(people, stage.vfolder)
    grants = tuple(structs.replace(one, id=uuid4().hex) for one in known.grants)
    other = grant_to(f"user:{uuid4()}", "ro")
    invited = next((one.word for one in _next_owners(stage)), "")
    record = structs.replace(
        records.implied("local", vfolder),
        grants=(*grants, other),
        next_owner=invited,
        expires_at=known.expires_at,
        revision=1,
    )
    people.write(record, vfolder)
    own = next((one.id for one in grants if one.to == actor.person.word), other.id)
    names = {"grant": other.id, "own_grant": own, "group": stage.names["group"]}
    names |= {"vfolder": str(vfolder.id), "new": str(uuid4())}
    if "link" in deed.asked:
        path = f"/v1/vfolders/{vfolder.id}/links"
        made = matrix.line.ask("POST", path, owner.means[0].headers, {})
        assert made.status == 201, made
        names["link"] = made.document["id"]
    return Ground(people, vfolder, actor, names)


def _next_owners(stage: Stage) -> list[Any]:
    return [one.person for one in stage.actors if one.name in ("rw", "granted in a group's")]


def as_named(actor: Actor, at: Ground) -> Actor:
    """The actor with what the record of a ground says of it."""
    word = actor.person.word
    named = {"grantee"} if any(one.to == word for one in at.record.grants) else set[str]()
    named |= {"next_owner"} if at.record.next_owner == word else set()
    return replace(actor, named=frozenset(named))


def asked(matrix: Matrix, deed: Deed, at: Ground, means: Means) -> tuple[int, bytes]:
    row = row_of(deed)
    path = row.path.format(**at.names)
    body = deed.body and json.loads(json.dumps(deed.body).replace("{new}", at.names["new"]))
    answer = matrix.line.ask(row.method, path, {**row.headers, **means.headers}, body)
    return answer.status, answer.body[:200]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: f"{deed.asked} {deed.acts}")
def test_what_is_allowed_happens_and_nothing_else(matrix: Matrix, deed: Deed) -> None:
    wrong: list[str] = []
    for stage in matrix.stages:
        shared: Ground | None = None
        for actor, means in (*chosen(deed, stage), (matrix.unproved, matrix.unproved.means[0])):
            if deed.of_grantees and actor not in _grantees(stage):
                continue
            at = ground(matrix, stage, deed, actor) if shared is None else shared
            wanted = expected(row_of(deed), as_named(actor, at), means)
            at = replace(at, actor=actor, names={**at.names, "new": str(uuid4())})
            wrong += cell(matrix, deed, at, means, wanted)
            # What was refused has left the ground as it was; it is good for the next one.
            shared = None if wanted == deed.status or deed.of_grantees else at
    assert not wrong, "\n".join(wrong)


def _grantees(stage: Stage) -> list[Actor]:
    return [one for one in stage.actors if one.name in ("ro", "rw", "rwd", "expired grant")]


def cell(matrix: Matrix, deed: Deed, at: Ground, means: Means, wanted: int) -> list[str]:
    """One cell; what is wrong with it."""
    status, text = asked(matrix, deed, at, means)
    name = f"{at.actor.name}, {means.name}"
    if status != wanted:
        return [f"{name}: {status}, not {wanted}: {text!r}"]
    if wanted != deed.status:
        return [f"{name}: refused, and it happened"] if deed.done(at) else []
    if deed.later:
        wait_for(lambda: deed.done(at), 60, name)
    happened = deed.done(at)
    if deed.undo is not None:
        asked(matrix, replace(deed, body=deed.undo), at, means)
    return [] if happened else [f"{name}: allowed, and it did not happen"]
