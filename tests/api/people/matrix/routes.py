"""Every route for people asked by every kind of subject with every kind of credential.

Each gets the status that the table of acts says, no request of these changes anything, and what is
hidden has the same bytes as what is absent. `deed_cells` has the requests that change something.
"""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from core.access import Scope
from tests.api.people.matrix.actors import Actor, Means, expected, rule_of
from tests.api.people.matrix.conftest import Matrix, Stage
from tests.api.people.matrix.requests import seen
from tests.api.people.matrix.rows import ROWS, Row
from tests.support.thoroughness import THOROUGH

#: The credentials that every actor has; `key` is the first of them.
USUAL = 5
#: How many of those that prove no caller a row is asked with.
UNPROVED = 3


def chosen(row: Row, stage: Stage) -> Iterator[tuple[Actor, Means]]:
    """Each actor of a stage with the credentials that a row is asked with.

    Usually each actor comes with one of those that all have, in turns: so each row meets each
    credential, and each actor comes with each. `make thorough` has all of all.
    """
    first, needed = ROWS.index(row), scopes_of(row)
    for number, actor in enumerate(stage.actors):
        common = actor.means[:USUAL]
        own = [one for one in actor.means[USUAL:] if THOROUGH or one.lacks in needed | {None}]
        some = common if THOROUGH else (common[(first + number) % len(common)],)
        yield from ((actor, one) for one in (*some, *own))


def scopes_of(row: Row) -> set[Scope]:
    """The scopes that a row needs; a key without another one is as any key."""
    rules = filter(None, map(rule_of, row.acts))
    return {scope for rule in rules for scope in rule.scopes}


def by_unproved(row: Row, unproved: Actor) -> Iterator[Means]:
    """No credential at all, and some of those that prove no caller, in turns."""
    none, *others = unproved.means
    first = ROWS.index(row) * UNPROVED
    turn = range(len(others)) if THOROUGH else range(first, first + UNPROVED)
    yield none
    yield from (others[number % len(others)] for number in turn)


def named(row: Row) -> str:
    return f"{row.method} {row.path} {' '.join(row.acts)}"


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_each_subject_gets_what_the_table_says(matrix: Matrix, row: Row) -> None:
    wrong = []
    for stage in matrix.stages:
        before = seen(stage.tree, stage.record)
        for actor, means in chosen(row, stage):
            wrong += asked(matrix, row, stage, actor, means)
        assert seen(stage.tree, stage.record) == before, f"something changed in {stage.name}"
    for means in by_unproved(row, matrix.unproved):
        wrong += asked(matrix, row, matrix.stages[0], matrix.unproved, means)
    assert not wrong, "\n".join(wrong)


def asked(matrix: Matrix, row: Row, stage: Stage, actor: Actor, means: Means) -> list[str]:
    """One cell; what is wrong with it."""
    path = row.path.format(**stage.names)
    path += f"{'&' if '?' in path else '?'}{means.query}" if means.query else ""
    wanted = expected(row, actor, means)
    wrong = []
    for method in _methods(row):
        answer = matrix.line.ask(method, path, {**row.headers, **means.headers}, row.body)
        cell = f"{method} by {actor.name}, {means.name}"
        if answer.status != wanted:
            wrong.append(f"{cell}: {answer.status}, not {wanted}: {answer.body[:200]!r}")
        elif wanted in (401, 403, 404) and method != "HEAD":
            assert answer.document["error_code"], cell
            assert str(matrix.people.settings.directory).encode() not in answer.body, cell
    return wrong


def _methods(row: Row) -> tuple[str, ...]:
    """The method of a row; what answers GET answers HEAD, too."""
    with_head = row.method == "GET" and "events" not in row.path
    return ("GET", "HEAD") if with_head and THOROUGH else (row.method,)


def test_what_is_hidden_looks_as_if_it_were_absent(matrix: Matrix) -> None:
    stage = matrix.stages[0]
    (key, *_) = stage.actor("stranger").means
    others = {"vfolder": str(uuid4()), "job": str(uuid4()), "group": str(uuid4())}
    for row in ROWS:
        if expected(row, stage.actor("stranger"), key) != 404 or row.method == "HEAD":
            continue
        answers = []
        for names in (stage.names, {**stage.names, **others}):
            path = row.path.format(**names)
            answer = matrix.line.ask(row.method, path, {**row.headers, **key.headers}, row.body)
            document = answer.document
            document.pop("request_id", None)
            document.pop("instance", None)
            answers.append((answer.status, json.dumps(document)))
        assert answers[0] == answers[1], row
