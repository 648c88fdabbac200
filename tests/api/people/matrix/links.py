"""Every route of links with links of every kind: live, ended in each way, and unknown ones.

A credential beside the link changes nothing: a link that has ended is absent for its maker, too.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from core.access import Link, VFolderRecord
from core.names import VFolderId
from tests.api.people.conftest import People, Person
from tests.api.people.matrix.conftest import Matrix, change_record
from tests.api.people.matrix.requests import Line, seen
from tests.support.node import wait_for
from tests.support.thoroughness import THOROUGH

_TUS = {"Tus-Resumable": "1.0.0"}
_NAME = base64.b64encode(b"sent.txt").decode()
_ONE = "/s/{token}/uploads/00000000000000000000000000000009"
PASSWORD = "open sesame, please"
_BYTES = {**_TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}


@dataclass(frozen=True)
class LinkRow:
    """One way to use a link; what a permitted one gets changes nothing."""

    method: str
    path: str
    #: Of which kind of links it is; of both where it is empty.
    kind: str
    allowed: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    #: Whether it answers before the password was given.
    early: bool = False
    #: Whether it is no more where the link is used up.
    counts: bool = True


LINK_ROWS = (
    LinkRow("GET", "/s/{token}", "", 200, early=True),
    LinkRow("POST", "/s/{token}", "", 204, {"password": PASSWORD}, early=True, counts=False),
    LinkRow("GET", "/s/{token}/entries", "read", 200),
    LinkRow("GET", "/s/{token}/content?path=a.txt", "read", 200),
    LinkRow("GET", "/s/{token}/content?format=tar", "read", 200),
    LinkRow("GET", "/s/{token}/uploads", "drop", 200),
    LinkRow("POST", "/s/{token}/uploads", "drop", 400, None, _TUS),
    LinkRow("HEAD", _ONE, "drop", 404, None, _TUS),
    LinkRow("PATCH", _ONE, "drop", 404, None, _BYTES),
    LinkRow("DELETE", _ONE, "drop", 404, None, _TUS),
)


@dataclass(frozen=True)
class Made:
    """A link, and what it is worth."""

    name: str
    kind: str
    token: str
    tree: Path
    record: Path
    live: bool = True
    used_up: bool = False
    password: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def expected(row: LinkRow, made: Made) -> int:
    """The status of a request by a link."""
    if not made.live or (made.used_up and row.counts) or row.kind not in ("", made.kind):
        return 404
    return 403 if made.password and not row.early else row.allowed


class Links:
    """Makes links, and lets them end in each way."""

    def __init__(self, people: People, line: Line) -> None:
        self.people = people
        self.line = line

    def made(self, name: str, kind: str = "read", **more: Any) -> tuple[Made, Person, VFolderId]:
        owner = self.people.person()
        vfolder = self.people.vfolder(owner, **{"a.txt": "hello", "b.txt": "used"})
        asked = {key: more.pop(key) for key in ("password", "max_downloads") if key in more}
        answer = self.people.call(
            owner, "POST", f"/v1/vfolders/{vfolder.id}/links", {"kind": kind, **asked}
        )
        assert answer.status_code == 201, answer.text
        token = answer.json()["url"].rpartition("/")[2]
        tree = self.people.path(vfolder)
        record = tree.parents[2] / ".vfolder" / "meta" / f"{vfolder.id.hex}.access"
        return Made(name, kind, token, tree, record, **more), owner, vfolder

    def ended(
        self, name: str, kind: str, change: Callable[[VFolderRecord], VFolderRecord], **more: Any
    ) -> Made:
        """A link whose record was changed afterwards."""
        made, _, vfolder = self.made(name, kind, live=False, **more)
        change_record(self.people, vfolder, change)
        wait_for(lambda: self.line.ask("GET", f"/s/{made.token}", {}).status == 404)
        return made

    def all(self) -> list[Made]:
        """Links of every kind; those that have ended were live before."""
        read, drop = self.made("live, to read")[0], self.made("live, to send", "drop")[0]
        locked = self.made("with a password", password=PASSWORD)[0]
        shut = {**locked.__dict__, "password": True}
        return [
            read,
            drop,
            Made(**{**shut, "name": "with a password that is not given"}),
            Made(
                **{
                    **locked.__dict__,
                    "name": "with its password",
                    "headers": {"X-Link-Password": PASSWORD},
                }
            ),
            Made(**{**shut, "name": "with a wrong one", "headers": {"X-Link-Password": "x"}}),
            self._used_up(),
            self.ended("past its end", "read", _each(expires_at=time.time() - 1)),
            self.ended("revoked", "read", _each(revoked_at=time.time() - 1)),
            self.ended("revoked, to send", "drop", _each(revoked_at=time.time() - 1)),
            self.ended("turned off", "read", lambda one: structs.replace(one, links_allowed=False)),
            self.ended("of a maker who gave it away", "read", self._given_away),
            self.ended(
                "to send, of an expired vfolder",
                "drop",
                lambda one: structs.replace(one, expires_at=1),
            ),
            self._of_a_blocked_maker(),
            Made("that never was", "read", f"vfl_{'x' * 27}", read.tree, read.record, live=False),
            Made(
                "that is a key",
                "read",
                self.people.person().key,
                read.tree,
                read.record,
                live=False,
            ),
        ]

    def _used_up(self) -> Made:
        made, _, _ = self.made("used up", used_up=True, max_downloads=1)
        wait_for(lambda: self.line.ask("GET", f"/s/{made.token}", {}).status == 200)
        used = self.line.ask("GET", f"/s/{made.token}/content?path=b.txt", {})
        assert used.status == 200, used
        return made

    def _given_away(self, record: VFolderRecord) -> VFolderRecord:
        other = self.people.person()
        return structs.replace(record, owner=structs.replace(record.owner, id=other.id))

    def _of_a_blocked_maker(self) -> Made:
        made, owner, _ = self.made("of a blocked maker", live=False)
        self.people.subjects.change(
            "user", owner.id, lambda one: structs.replace(one, blocked=True)
        )
        wait_for(lambda: self.line.ask("GET", f"/s/{made.token}", {}).status == 404)
        return made


def _each(**changed: Any) -> Callable[[VFolderRecord], VFolderRecord]:
    """A change of every link of a record."""

    def change(record: VFolderRecord) -> VFolderRecord:
        found: tuple[Link, ...] = tuple(structs.replace(one, **changed) for one in record.links)
        return structs.replace(record, links=found)

    return change


@pytest.fixture(scope="module", name="made")
def made_links(matrix: Matrix) -> list[Made]:
    return Links(matrix.people, matrix.line).all()


@pytest.mark.parametrize("row", LINK_ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_a_link_gives_what_it_is_worth(matrix: Matrix, made: list[Made], row: LinkRow) -> None:
    owner = matrix.stages[0].actor("owner")
    wrong = []
    beside, first = (matrix.unproved.means[0], *owner.means[:3]), LINK_ROWS.index(row)
    for number, link in enumerate(made):
        before = seen(link.tree, link.record)
        turn = (first + number) % len(beside)
        for means in beside if THOROUGH else beside[turn : turn + 1]:
            path = row.path.format(token=link.token)
            headers = {**row.headers, **link.headers, **means.headers}
            answer = matrix.line.ask(row.method, path, headers, row.body)
            if answer.status != expected(row, link):
                wanted = expected(row, link)
                wrong.append(f"{link.name}, {means.name}: {answer.status}, not {wanted}: {answer}")
        assert seen(link.tree, link.record) == before, f"{link.name} changed something"
    assert not wrong, "\n".join(wrong)
