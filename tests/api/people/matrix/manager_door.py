"""Every route of the manager door: its secret opens it, and no credential of people does."""

from collections.abc import Iterator

import pytest

from api import app
from core.settings import Settings
from tests.api.people.matrix.conftest import Matrix
from tests.api.people.matrix.open_routes import OPEN_AT_MANAGER
from tests.api.people.matrix.requests import Line, seen
from tests.api.people.matrix.tables import routes
from tests.support.doors import AUTH, running_door

HEADER = next(iter(AUTH))
#: What its paths name; nothing has these names.
_IN_PATHS = "00000000-0000-4000-8000-000000000009"


@pytest.fixture(scope="module", name="manager")
def manager_line(matrix: Matrix) -> Iterator[Line]:
    with running_door("manager", matrix.people.settings) as door:
        found = Line(door.url)
        yield found
        found.close()


def closed(settings: Settings) -> list[tuple[str, str]]:
    """The routes that need the secret."""
    return sorted(set(routes(app.manager_door(settings))) - OPEN_AT_MANAGER)


def credentials(matrix: Matrix) -> dict[str, dict[str, str]]:
    """Credentials that are good at the client door, as they are and in the place of the secret."""
    owner, operator = (matrix.stages[0].actor(name) for name in ("owner", "operator"))
    found = {f"operator, {means.name}": means.headers for means in operator.means[:5]}
    found |= {means.name: means.headers for means in matrix.unproved.means if not means.query}
    texts = {"key": owner.person.key, "operator's key": operator.person.key, "empty": ""}
    found |= {f"{name} for the secret": {HEADER: text} for name, text in texts.items()}
    return found


def test_nothing_but_the_secret_opens_it(matrix: Matrix, manager: Line) -> None:
    stage, wrong = matrix.stages[0], []
    sent = {
        name: headers
        for name, headers in credentials(matrix).items()
        if headers.get(HEADER) != AUTH[HEADER]
    }
    before = seen(stage.tree, stage.record)
    known = closed(matrix.people.settings)
    for number, (method, path) in enumerate(known):
        names = {"vfolder_id": stage.names["vfolder"], "job_id": stage.names["job"]}
        filled = path.format_map(_Absent(names))
        # A third of the credentials in turns: the check is before all routes.
        for name in [*sent][number % 3 :: 3]:
            answer = manager.ask(method, filled, sent[name], {"volume": "local"})
            if answer.status != 403 and not (method == "HEAD" and answer.status == 403):
                wrong.append(f"{method} {path} by {name}: {answer.status}")
    assert not wrong, "\n".join(wrong)
    assert len(known) > 60
    assert seen(stage.tree, stage.record) == before


class _Absent(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return _IN_PATHS
