"""Every route of tickets with the tickets of every subject, as of now; and with all that is none.

A ticket names a person and the credential that asked for it. Who lost the permission, or the
credential, has a ticket that is worth nothing.
"""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from core.access import ACTS, PersonClaims, tickets
from core.access.credentials import keys
from tests.api.people.matrix.actors import Actor, Means, refused
from tests.api.people.matrix.conftest import Matrix, Stage
from tests.api.people.matrix.requests import seen
from tests.support.thoroughness import THOROUGH

_TUS = {"Tus-Resumable": "1.0.0"}
_NAME = base64.b64encode(b"sent.txt").decode()
_SENT = {**_TUS, "Upload-Length": "-1", "Upload-Metadata": f"filename {_NAME}"}
_BYTES = {**_TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
ABSENT = "00000000000000000000000000000009"
#: What a new ticket would help with.
_RENEWED = ("a ticket that has ended", "a ticket of another service")
#: Most cells of a stage have the credentials of these places; `key` is the first.
KEY, TOKEN = 0, 1


@dataclass(frozen=True)
class TicketRow:
    """One way to use a ticket; what a permitted one gets changes nothing."""

    method: str
    path: str
    kind: str
    act: str
    allowed: int
    headers: dict[str, str] = field(default_factory=dict)


TICKET_ROWS = (
    TicketRow("GET", "/download", "download", "entries.read", 200),
    TicketRow("HEAD", "/download", "download", "entries.read", 200),
    TicketRow("GET", "/download-archive", "archive", "entries.read", 200),
    TicketRow("HEAD", "/upload", "upload", "entries.write", 404, _TUS),
    TicketRow("PATCH", "/upload", "upload", "entries.write", 404, _BYTES),
    TicketRow("DELETE", "/upload", "upload", "entries.write", 404, _TUS),
    TicketRow("POST", "/upload", "upload", "entries.write", 400, _SENT),
    TicketRow("HEAD", f"/upload/{ABSENT}", "upload", "entries.write", 404, _TUS),
    TicketRow("PATCH", f"/upload/{ABSENT}", "upload", "entries.write", 404, _BYTES),
    TicketRow("DELETE", f"/upload/{ABSENT}", "upload", "entries.write", 404, _TUS),
    TicketRow(
        "POST",
        f"/upload/{ABSENT}",
        "upload",
        "entries.write",
        404,
        {**_TUS, "X-HTTP-Method-Override": "DELETE"},
    ),
)


def ticket(stage: Stage, kind: str, secret: str, person: PersonClaims | None, ends: float) -> str:
    """A signed ticket about the vfolder of a stage."""
    vfolder = str(stage.vfolder)
    found: tickets.Ticket
    if kind == "download":
        found = tickets.DownloadTicket(
            volume="local", vfid=vfolder, relpath="a.txt", exp=ends, person=person
        )
    elif kind == "archive":
        found = tickets.ArchiveTicket(
            volume="local", virtual_folder_id=vfolder, files=["a.txt"], exp=ends, person=person
        )
    else:
        found = tickets.UploadTicket(
            volume="local",
            vfid=vfolder,
            relpath="",
            size=100,
            session=uuid4().hex,
            tree=True,
            exp=ends,
            person=person,
        )
    return tickets.issue(found, secret)


def holders(actor: Actor) -> Iterator[tuple[str, Means]]:
    """The ids of an actor's credentials as tickets name them."""
    for means in actor.means:
        text = means.headers.get("Authorization", "").removeprefix("Bearer ")
        if text.startswith("vfk_"):
            yield f"key:{keys.parsed(text).id}", means
        elif text.startswith("ey"):
            yield "token:t", means


def expected(row: TicketRow, actor: Actor, means: Means) -> int:
    """A token's ticket has the scopes of its act; a key's has those of the key."""
    return (401 if not means.proved else refused(row.act, actor, means)) or row.allowed


@pytest.mark.parametrize("row", TICKET_ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_a_ticket_is_worth_what_its_holder_has_now(matrix: Matrix, row: TicketRow) -> None:
    secret, ends, wrong = matrix.people.settings.storage_proxy.secret, time.time() + 300, []
    for stage in matrix.stages:
        before = seen(stage.tree, stage.record)
        for actor in stage.actors:
            operates = actor.kind == "operator" or actor.far
            word = f"{'operator' if operates else 'user'}:{actor.person.id}"
            for credential, means in holders(actor):
                if means.lacks not in (None, *ACTS[row.act].scopes) and not THOROUGH:
                    continue
                groups = [stage.of_tokens] if actor.name == "member by token" else []
                person = PersonClaims(sub=word, cid=credential, groups=groups)
                token = ticket(stage, row.kind, secret, person, ends)
                path = f"{row.path}?token={token}"
                found = matrix.line.ask(row.method, path, row.headers)
                wanted = expected(row, actor, means)
                if found.status != wanted:
                    cell = f"{actor.name}, ticket by {means.name}"
                    wrong.append(f"{cell}: {found.status}, not {wanted}: {found.body[:200]!r}")
        assert seen(stage.tree, stage.record) == before, f"something changed in {stage.name}"
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("row", TICKET_ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_what_is_no_ticket_for_it_opens_nothing(matrix: Matrix, row: TicketRow) -> None:
    """The key of the owner is none, nor is a ticket for another act, or one that has ended."""
    stage = matrix.stages[0]
    owner, settings = stage.actor("owner"), matrix.people.settings
    secret, ends = settings.storage_proxy.secret, time.time() + 300
    person = PersonClaims(sub=owner.person.word, cid=next(holders(owner))[0])
    kinds = [kind for kind in ("download", "archive", "upload") if kind != row.kind]
    texts = {
        "nothing": "",
        "a key": owner.person.key,
        "a token": owner.means[TOKEN].headers["Authorization"].removeprefix("Bearer "),
        "a ticket that has ended": ticket(stage, row.kind, secret, person, time.time() - 60),
        "a ticket of another service": ticket(stage, row.kind, "x" * 32, person, ends),
        "the secret": settings.storage_proxy.secret,
    }
    texts |= {f"a ticket for {kind}": ticket(stage, kind, secret, person, ends) for kind in kinds}
    before = seen(stage.tree, stage.record)
    for name, text in texts.items():
        for headers in ({}, owner.means[KEY].headers):
            answer = matrix.line.ask(
                row.method, f"{row.path}?token={text}", {**row.headers, **headers}
            )
            # The released clients of archives ask for a new ticket after a 401.
            renew = row.kind == "archive" and name in _RENEWED
            assert answer.status == (401 if renew else 400), f"{name}: {answer}"
    by_manager = ticket(stage, row.kind, secret, None, ends)
    answer = matrix.line.ask(row.method, f"{row.path}?token={by_manager}", row.headers)
    assert answer.status == row.allowed, answer
    assert seen(stage.tree, stage.record) == before
