"""The stages of the matrix: vfolders with every kind of subject, and their credentials."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from backends.entries import access_files
from backends.volumes import Volumes
from core.access import Grant, Scope, Seals, VFolderRecord, records
from core.access.permissions import PERSON_SCOPES
from core.names import VFolderId
from tests.api.people.conftest import MORE, People, Person, grant_to, running_people
from tests.api.people.matrix.actors import OWN_PAGE, Actor, Means
from tests.api.people.matrix.requests import Line
from tests.support.doors import AUTH
from tests.support.issuer import AUDIENCE, NAME, SigningKey, claims
from tests.support.node import wait_for

KEY = SigningKey("one")
ROLE = "storage-operator"
ISSUER = f"""
[[vfolder.access.issuer]]
issuer = "{NAME}"
audience = "{AUDIENCE}"
algorithms = ["ES256"]
jwks-file = "keys.json"
operator-role = "{ROLE}"
"""
EVERYTHING = frozenset(Scope)
#: A group without members.
NOT_THERE = UUID(int=0)
FAR = {"X-Forwarded-For": "192.0.2.7"}


@dataclass
class Stage:
    """A vfolder, what is about it, and the actors that have something or nothing there."""

    name: str
    vfolder: VFolderId
    tree: Path
    record: Path
    #: What the paths of rows name.
    names: dict[str, str]
    actors: list[Actor]
    #: The group that only tokens say anything of, where the stage has one.
    of_tokens: UUID

    def actor(self, name: str) -> Actor:
        return next(one for one in self.actors if one.name == name)


@dataclass
class Matrix:
    """The stages, and credentials that prove no caller."""

    people: People
    line: Line
    stages: list[Stage]
    #: Its credentials prove no caller.
    unproved: Actor

    @property
    def cells(self) -> int:
        return self.line.count


class Maker:
    """Makes actors with every credential."""

    def __init__(self, people: People, line: Line) -> None:
        self.people = people
        self.line = line

    def token(self, person: Person, **changed: Any) -> str:
        return KEY.token(**claims(sub=str(person.id), **changed))

    def sign_in(self, bearer: str) -> str:
        """The text of a cookie."""
        answer = self.line.ask("POST", "/v1/signin", {"Authorization": f"Bearer {bearer}"})
        assert answer.status == 204, answer
        return answer.headers["set-cookie"].partition("=")[2].partition(";")[0]

    def actor(self, actor: Actor) -> Actor:
        """The actor with a key, a token, and the cookies of both."""
        key = actor.person.key
        operates = actor.kind == "operator"
        roles = {"realm_access": {"roles": [ROLE]}} if operates else {}
        token = self.token(actor.person, **roles)
        scopes = EVERYTHING if operates else PERSON_SCOPES
        by_key, by_token = self.sign_in(key), self.sign_in(token)
        found = [
            Means("key", _bearer(key), scopes=scopes),
            Means("token", _bearer(token), scopes=scopes),
            Means("cookie of a key", self.cookie(by_key), scopes=scopes),
            Means("cookie of a token", self.cookie(by_token), scopes=scopes),
            Means("sign-in of a program", _bearer(f"vfs_{by_key}"), scopes=scopes),
        ]
        return actor.by(*found)

    def cookie(self, text: str, **changed: str) -> dict[str, str]:
        own = {"Cookie": f"vfolder={text}", **OWN_PAGE, "Origin": f"http://{self.line.address}"}
        return {name: value for name, value in {**own, **changed}.items() if value}

    def of_other_pages(self, actor: Actor) -> tuple[Means, ...]:
        """Cookies that pages of others send."""
        text = self.sign_in(actor.person.key)
        return (
            Means(
                "cookie of another site",
                self.cookie(text, Origin="https://evil.example"),
                own_page=False,
            ),
            Means("cookie of a form", self.cookie(text, **{"X-VFolder": ""}), own_page=False),
        )

    def limited(self, actor: Actor, scopes: frozenset[Scope], name: str) -> Means:
        """A key of the same holder with fewer scopes."""
        operator = actor.kind == "operator"
        key = self.people.new_key(actor.person, scopes, operator=operator)
        return Means(name, _bearer(key), scopes=scopes)


def record_of(people: People, vfolder: VFolderId, volume: str = "local") -> VFolderRecord:
    """The record of a vfolder as its file says."""
    text = access_files.read(Volumes(people.settings).get(volume), vfolder).text
    if text is None:
        return records.implied(volume, vfolder)
    seals = Seals([people.settings.storage_proxy.secret])
    return seals.opened(text, records.place_of(volume, vfolder), VFolderRecord)


def change_record(
    people: People, vfolder: VFolderId, change: Callable[[VFolderRecord], VFolderRecord]
) -> None:
    """Change the record of a vfolder below all doors."""
    record = record_of(people, vfolder)
    people.write(structs.replace(change(record), revision=record.revision + 1), vfolder)


def _bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def _job(people: People, person: Person, vfolder: VFolderId) -> str:
    """A job about a vfolder that has ended; it removes what is not there."""
    body = {"paths": ["nothing"]}
    response = people.call(person, "POST", f"/v1/vfolders/{vfolder.id}/delete", body)
    assert response.status_code == 202, response.text
    return str(people.ended(person, response.json()["id"])["id"])


def _upload(people: People, person: Person, vfolder: VFolderId) -> str:
    """An upload that is open."""
    name = base64.b64encode(b"open.txt").decode()
    headers = {"Upload-Length": "5", "Upload-Metadata": f"relativePath {name}"}
    made = people.call(person, "POST", f"/v1/vfolders/{vfolder.id}/uploads", headers=headers)
    assert made.status_code == 201, made.text
    return made.headers["Location"].rpartition("/")[2]


def _staged(
    people: People, vfolder: VFolderId, owner: Actor, group: UUID, actors: list[Actor], **more: Any
) -> Stage:
    """A stage, whose record has these grants and members."""
    name, grants = more.pop("name"), more.pop("grants")
    of_tokens = more.pop("of_tokens", NOT_THERE)
    job, upload = _job(people, owner.person, vfolder), _upload(people, owner.person, vfolder)
    record = structs.replace(records.implied("local", vfolder), grants=grants, revision=1, **more)
    people.write(record, vfolder)
    scope = people.path(vfolder).parents[2]
    names = {
        "vfolder": str(vfolder.id),
        "job": job,
        "upload": upload,
        "grant": grants[0].id,
        "group": str(group),
    }
    file = scope / ".vfolder" / "meta" / f"{vfolder.id.hex}.access"
    assert file.exists(), file
    return Stage(name, vfolder, people.path(vfolder), file, names, actors, of_tokens)


def _of_a_user(people: People, make: Maker, group: UUID) -> Stage:
    plain: list[Actor] = [Actor("owner", people.person(), "owner", began=True)]
    plain += [Actor(word, people.person(), word) for word in ("ro", "rw", "rwd")]
    plain += [
        Actor("stranger", people.person()),
        Actor("expired grant", people.person()),
        Actor("grant with an end", people.person(), "rw"),
        Actor("grant to a group", people.person(), "rw"),
        Actor("operator", people.operator(), kind="operator"),
    ]
    owner = plain[0]
    friends = people.group(plain[7].person)
    of_tokens = uuid4()
    grants: tuple[Grant, ...] = (
        *(grant_to(one.person.word, one.permission) for one in plain[1:4]),
        grant_to(plain[5].person.word, "rwd", -1),
        grant_to(plain[6].person.word, "rw", 3600),
        grant_to(f"group:{friends}", "rw"),
        grant_to(f"group:{of_tokens}", "rwd"),
    )
    vfolder = people.vfolder(owner.person, **{"a.txt": "hello"})
    actors = [make.actor(one) for one in plain]
    actors[0] = actors[0].by(
        *make.of_other_pages(owner),
        *_keys_of_the_owner(make, owner, vfolder),
    )
    operator = actors[8]
    for scope in (Scope.FILES_READ, Scope.ADMIN_READ, Scope.ADMIN_WRITE):
        operator = operator.by(make.limited(operator, frozenset({scope}), f"key for {scope}"))
    member = Person()
    token = make.token(member, groups=[str(of_tokens)])
    by_token = Means("cookie of a token", make.cookie(make.sign_in(token)))
    actors[8:] = [
        operator,
        # From elsewhere an operator is a mere user.
        Actor("operator from elsewhere", operator.person, far=True).by(
            *(
                replace(one, headers={**one.headers, **FAR}, scopes=PERSON_SCOPES)
                for one in operator.means[:2]
            )
        ),
        Actor("member by token", member, "rwd").by(Means("token", _bearer(token)), by_token),
    ]
    facts = {"name": "a user's", "grants": grants, "of_tokens": of_tokens}
    return _staged(people, vfolder, owner, group, actors, **facts)


def _keys_of_the_owner(make: Maker, owner: Actor, vfolder: VFolderId) -> list[Means]:
    """A key for each scope alone, one without each, and those of one vfolder."""
    found = [
        make.limited(owner, frozenset({one}), f"key for {one}") for one in sorted(PERSON_SCOPES)
    ]
    for one in sorted(PERSON_SCOPES):
        without = make.limited(owner, PERSON_SCOPES - {one}, f"key without {one}")
        found.append(replace(without, lacks=one))
    for name, bound, covers in (("here", vfolder.id, True), ("elsewhere", uuid4(), False)):
        key = make.people.new_key(owner.person, vfolders=(bound,))
        found.append(Means(f"key bound {name}", _bearer(key), bound=True, covers=covers))
    return found


def _of_a_group(people: People, make: Maker) -> tuple[Stage, UUID]:
    admin = Actor("group admin", people.person(), "owner", in_group="admin", began=True)
    member = Actor("group member", people.person(), "ro", in_group="member")
    guest = Actor("granted in a group's", people.person(), "rw")
    outsider = Actor("owner of another", people.person())
    group = people.group(member.person, admins=(admin.person,))
    vfolder = people.vfolder(group, **{"a.txt": "hello"})
    actors = [make.actor(one) for one in (admin, member, guest, outsider)]
    wait_for(lambda: _sees(people, admin.person, vfolder))
    grants = (grant_to(guest.person.word, "rw"),)
    return _staged(people, vfolder, admin, group, actors, name="a group's", grants=grants), group


def _sees(people: People, person: Person, vfolder: VFolderId) -> bool:
    return people.call(person, "GET", f"/v1/vfolders/{vfolder.id}").status_code == 200


def _of_the_past(people: People, make: Maker, group: UUID) -> Stage:
    """A vfolder that has expired, and a user that is blocked."""
    owner = Actor("owner of an expired one", people.person(), "owner", began=True, expired=True)
    guest = Actor("rwd on an expired one", people.person(), "rwd", expired=True)
    blocked = Actor("blocked user", people.person(), "rwd", expired=True)
    vfolder = people.vfolder(owner.person, **{"a.txt": "hello"})
    grants = tuple(grant_to(one.person.word, "rwd") for one in (guest, blocked))
    actors = [make.actor(one) for one in (owner, guest, blocked)]
    ended = tuple(replace(one, proved=False) for one in actors[2].means)
    actors[2] = replace(actors[2], means=ended)
    stage = _staged(
        people, vfolder, owner, group, actors, name="of the past", grants=grants, expires_at=1.0
    )
    people.subjects.change(
        "user", blocked.person.id, lambda record: structs.replace(record, blocked=True)
    )
    return stage


def _unproved(people: People, make: Maker, stage: Stage) -> Actor:
    """Texts that prove no caller, though most of them are good elsewhere."""
    owner = stage.actor("owner").person
    base = f"/v1/vfolders/{stage.vfolder.id}"
    ticket = people.call(
        owner, "POST", f"{base}/tickets", {"act": "download", "path": "a.txt"}
    ).json()["token"]
    link = people.call(owner, "POST", f"{base}/links", {}).json()["url"].rpartition("/")[2]
    revoked = Person(owner.id, people.new_key(owner))
    people.revoke(revoked)
    ended = make.sign_in(owner.key)
    leaves = make.line.ask("DELETE", "/v1/signin", make.cookie(ended))
    assert leaves.status == 204, leaves
    texts: dict[str, dict[str, str]] = {
        "none": {},
        "forged key": _bearer(f"{owner.key[:-6]}000000"),
        "revoked key": _bearer(revoked.key),
        "token of another audience": _bearer(make.token(owner, aud="others")),
        "token that has ended": _bearer(make.token(owner, iat=1, exp=2)),
        "cookie that has ended": make.cookie(ended),
        "ticket as a token": _bearer(ticket),
        "ticket as a cookie": make.cookie(ticket),
        "link as a token": _bearer(link),
        "link as a cookie": make.cookie(link),
        "secret of the manager": dict(AUTH),
        "secret of the manager as a token": _bearer(next(iter(AUTH.values()))),
    }
    found = [Means(name, headers, proved=False) for name, headers in texts.items()]
    found.append(Means("ticket in the query", query=f"token={ticket}", proved=False))
    found.append(Means("key in the query", query=f"token={owner.key}", proved=False))
    return Actor("unproved", Person()).by(*found)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """As in the room above, and with an issuer of tokens."""
    directory = tmp_path_factory.mktemp("matrix")
    (directory / "keys.json").write_text(json.dumps({"keys": [KEY.jwk()]}))
    with running_people(directory, MORE + ISSUER) as found:
        yield found


@pytest.fixture(scope="module")
def line(people: People) -> Iterator[Line]:
    found = Line(people.door.url)
    yield found
    found.close()


@pytest.fixture(scope="module")
def matrix(people: People, line: Line) -> Matrix:
    make = Maker(people, line)
    of_group, group = _of_a_group(people, make)
    of_user = _of_a_user(people, make, group)
    past = _of_the_past(people, make, group)
    unproved = _unproved(people, make, of_user)
    wait_for(lambda: _is_known(people, past))
    return Matrix(people, line, [of_user, of_group, past], unproved)


def _is_known(people: People, stage: Stage) -> bool:
    """Whether the door knows the last change of the stages."""
    return people.call(stage.actor("blocked user").person, "GET", "/v1/me").status_code == 401
