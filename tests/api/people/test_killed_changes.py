"""kill -9 of a door at each step of each change of access: it is whole or absent, then and later.

A step is a call that changes a disk or the store; the last one is the answer, which is lost then.
Another door of the node lives on. It sees what the files say, and a repeated request completes the
change. The audit log has a line for each change that was made, and none twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest
from flask import Flask

from api.access import OPENINGS
from api.app import client_door, manager_door
from backends.fs import layout
from backends.volumes.access.subjects import keys_of
from core.access import Seals, SubjectRecord, VFolderRecord, audit, records
from core.access.credentials import keys as api_keys
from core.names import VFolderId
from tests.api.people.conftest import People, Person, grant_to
from tests.support.deaths import killed_at
from tests.support.doors import AUTH
from tests.support.node import wait_for
from tests.support.thoroughness import times

#: More steps than any change has.
STEPS_MAX = 150
#: Of so many steps one is tried.
STRIDE = times(8, 1)
WHY = {"reason": "a test"}


@dataclass
class Change:
    """One request, and what is known of what it changes."""

    who: Person
    method: str
    path: str
    body: Any
    #: What the files say; what they say without the change, and with it.
    truth: Callable[[], Any]
    old: Any
    new: Any
    #: What the living door says of the same.
    seen: Callable[[], Any]
    #: The answers of the repeated request.
    again: tuple[int, ...]
    #: What the files say after two of them, where that is not `new`.
    twice: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    door: str = "client"
    #: Another state without the change.
    also_old: Any = None

    @property
    def olds(self) -> tuple[Any, ...]:
        return self.old, self.also_old if self.also_old is not None else self.old


Made = Callable[[People], Change]


# -- What the files say ----------------------------------------------------------------------------
def record_of(people: People, vfolder: VFolderId) -> VFolderRecord:
    path = people.settings.directory / "local" / layout.record(vfolder)
    if not path.exists():
        return records.implied("local", vfolder)
    seals = Seals([people.settings.storage_proxy.secret])
    return seals.opened(path.read_bytes(), records.place_of("local", vfolder), VFolderRecord)


def subject_of(people: People, subject: Any) -> SubjectRecord:
    return people.subjects.read(subject) or SubjectRecord(kind="user", id=subject)


def key_of(people: People, person: Person, key: str) -> api_keys.ApiKey:
    identity = api_keys.parsed(key).id
    return next(one for one in keys_of(subject_of(people, person.id)) if one.id == identity)


def status(people: People, who: Person | None, path: str) -> int:
    return people.call(who, "GET", path).status_code


# -- Keys ------------------------------------------------------------------------------------------
def key_made(people: People) -> Change:
    owner = people.person()

    def named(keys: list[Any]) -> int:
        return [one["name"] for one in keys].count("made")

    def truth() -> int:
        return named([{"name": one.name} for one in keys_of(subject_of(people, owner.id))])

    def seen() -> int:
        return named(people.call(owner, "GET", "/v1/keys").json()["keys"])

    body = {"name": "made", "scopes": ["files:read"]}
    return Change(owner, "POST", "/v1/keys", body, truth, 0, 1, seen, (201,), twice=2)


def key_renamed(people: People) -> Change:
    owner = people.person()
    path = f"/v1/keys/{api_keys.parsed(owner.key).id}"

    def seen() -> str:
        (found,) = people.call(owner, "GET", "/v1/keys").json()["keys"]
        return str(found["name"])

    def truth() -> str:
        return key_of(people, owner, owner.key).name

    return Change(owner, "PATCH", path, {"name": "new"}, truth, "", "new", seen, (200,))


def key_ended(people: People, end: str, body: Any, again: int) -> Change:
    owner = people.person()
    lost = Person(owner.id, owner.key)
    owner.key = people.new_key(owner)
    before = key_of(people, owner, lost.key)
    path = f"/v1/keys/{before.id}{end}"

    def truth() -> int:
        now = key_of(people, owner, lost.key)
        return 401 if now.revoked_at is not None or now.digest != before.digest else 200

    seen = partial(status, people, lost, "/v1/me")
    return Change(owner, "POST" if end else "DELETE", path, body, truth, 200, 401, seen, (again,))


def key_rotated(people: People) -> Change:
    return key_ended(people, "/rotate", {"overlap_seconds": 0}, 200)


def key_revoked(people: People) -> Change:
    return key_ended(people, "", None, 204)


# -- Grants ----------------------------------------------------------------------------------------
def grant_given(people: People) -> Change:
    owner, guest = people.person(), people.person()
    vfolder = people.vfolder(owner, a="1")
    path = f"/v1/vfolders/{vfolder.id}/grants"

    def truth() -> list[str]:
        return [one.permission for one in record_of(people, vfolder).grants]

    def seen() -> list[str]:
        found = people.call(guest, "GET", f"/v1/vfolders/{vfolder.id}")
        if found.status_code == 404:
            return []
        # The index of lists knows it, too.
        listed = people.call(guest, "GET", "/v1/vfolders?shared=true").json()["vfolders"]
        return [one["permission"] for one in listed]

    body = {"to": guest.word, "permission": "ro"}
    return Change(owner, "POST", path, body, truth, [], ["ro"], seen, (201,))


def grant_of(
    people: People, method: str, body: Any, new: list[str], again: tuple[int, ...], *, leaves: bool
) -> Change:
    owner, guest = people.person(), people.person()
    vfolder, grant = people.vfolder(owner, a="1"), grant_to(guest.word, "rw")
    people.grant(vfolder, grant)
    path = f"/v1/vfolders/{vfolder.id}/grants/{grant.id}"

    def truth() -> list[str]:
        return [one.permission for one in record_of(people, vfolder).grants]

    def seen() -> list[str]:
        found = people.call(guest, "GET", f"/v1/vfolders/{vfolder.id}")
        return [] if found.status_code == 404 else [found.json()["permission"]]

    who = guest if leaves else owner
    return Change(who, method, path, body, truth, ["rw"], new, seen, again)


def grant_changed(people: People) -> Change:
    return grant_of(people, "PATCH", {"permission": "ro"}, ["ro"], (200,), leaves=False)


def grant_taken(people: People) -> Change:
    return grant_of(people, "DELETE", None, [], (204, 404), leaves=False)


def grant_left(people: People) -> Change:
    return grant_of(people, "DELETE", None, [], (204, 404), leaves=True)


def grants_of_the_manager(people: People) -> Change:
    change = grant_given(people)
    change.method, change.body = "PUT", {"grants": [change.body]}
    change.headers, change.door = AUTH, "manager"
    return change


def glass_broken(people: People) -> Change:
    owner, operator = people.person(), people.operator()
    vfolder = people.vfolder(owner, a="1")
    base = f"/v1/vfolders/{vfolder.id}"

    def truth() -> int:
        return 200 if record_of(people, vfolder).grants else 404

    seen = partial(status, people, operator, f"{base}/content?path=a")
    return Change(operator, "POST", f"{base}/break-glass", WHY, truth, 404, 200, seen, (200,))


# -- Links -----------------------------------------------------------------------------------------
def link_made(people: People) -> Change:
    owner = people.person()
    vfolder = people.vfolder(owner, a="1")
    path = f"/v1/vfolders/{vfolder.id}/links"

    def truth() -> int:
        return len(record_of(people, vfolder).links)

    def seen() -> int:
        listed = people.call(owner, "GET", path).json()["links"]
        mine = people.call(owner, "GET", "/v1/links").json()["links"]
        return len(listed) if len(listed) == len(mine) else -1

    return Change(owner, "POST", path, {}, truth, 0, 1, seen, (201,), twice=2)


def link_of(people: People, method: str, body: Any, again: tuple[int, ...]) -> Change:
    owner = people.person()
    vfolder = people.vfolder(owner, a="1")
    link = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/links", {}).json()
    visit = urlsplit(link["url"]).path

    def truth() -> tuple[int, str]:
        (found,) = record_of(people, vfolder).links
        return (200 if found.revoked_at is None else 404), found.note

    def seen() -> tuple[int, str]:
        (found,) = people.call(owner, "GET", f"/v1/vfolders/{vfolder.id}/links").json()["links"]
        return status(people, None, visit), found["note"]

    new = (200, "new") if body else (404, "")
    return Change(
        owner, method, f"/v1/links/{link['id']}", body, truth, (200, ""), new, seen, again
    )


def link_changed(people: People) -> Change:
    return link_of(people, "PATCH", {"note": "new"}, (200,))


def link_revoked(people: People) -> Change:
    return link_of(people, "DELETE", None, (204, 404))


# -- VFolders --------------------------------------------------------------------------------------
def vfolder_made(people: People) -> Change:
    owner = people.person()
    (people.settings.directory / "local" / owner.id.hex).mkdir(exist_ok=True)

    def truth() -> list[str | None]:
        scope = people.settings.directory / "local" / owner.id.hex
        found = [path for path in scope.glob("??/??/*") if path.is_dir()]
        hexes = ["".join(path.relative_to(scope).parts) for path in found]
        ids = [VFolderId.parse(f"{owner.word}/{one}") for one in hexes]
        return [record_of(people, one).name for one in ids]

    def seen() -> list[str | None]:
        listed = people.call(owner, "GET", "/v1/vfolders").json()["vfolders"]
        return [one["name"] for one in listed]

    headers = {"Idempotency-Key": uuid4().hex}
    body = {"name": "made", "volume": "local"}
    # Between its directory and its record it is there as one of the manager: its owner's, no name.
    ends: tuple[Any, Any] = [], ["made"]
    change = Change(owner, "POST", "/v1/vfolders", body, truth, *ends, seen, (201,))
    change.headers, change.also_old = headers, [None]
    return change


def vfolder_changed(people: People) -> Change:
    owner = people.person()
    vfolder = people.vfolder(owner, a="1")
    path = f"/v1/vfolders/{vfolder.id}"

    def truth() -> tuple[Any, ...]:
        found = record_of(people, vfolder)
        return found.name, found.links_allowed

    def seen() -> tuple[Any, ...]:
        found = people.call(owner, "GET", path).json()
        return found["name"], found["links_allowed"]

    body = {"name": "new", "links_allowed": False}
    new = "new", False
    return Change(owner, "PATCH", path, body, truth, (None, True), new, seen, (200,))


def owner_of(people: People, *, accepts: bool) -> Change:
    owner, heir = people.person(), people.person()
    vfolder = people.vfolder(owner, a="1")
    base = f"/v1/vfolders/{vfolder.id}"
    offer = {"to": heir.word}
    if accepts:
        assert people.call(owner, "POST", f"{base}/owner", offer).status_code == 200

    def truth() -> tuple[str, str]:
        found = record_of(people, vfolder)
        return found.owner.word, found.next_owner

    def seen() -> tuple[str, str]:
        found = people.call(owner, "GET", base)
        if found.status_code == 404:
            return f"user:{people.call(heir, 'GET', base).json()['owner']['id']}", ""
        return owner.word, found.json()["next_owner"] or ""

    if accepts:
        ends = (owner.word, heir.word), (heir.word, "")
        return Change(heir, "POST", f"{base}/owner/accept", None, truth, *ends, seen, (200, 403))
    ends = (owner.word, ""), (owner.word, heir.word)
    return Change(owner, "POST", f"{base}/owner", offer, truth, *ends, seen, (200,))


def owner_offered(people: People) -> Change:
    return owner_of(people, accepts=False)


def owner_accepted(people: People) -> Change:
    return owner_of(people, accepts=True)


# -- Groups and users ------------------------------------------------------------------------------
def group_made(people: People) -> Change:
    operator, admin, group = people.operator(), people.person(), uuid4()
    body = {"id": str(group), "name": "made", "admins": [str(admin.id)]}

    def truth() -> int:
        return len(subject_of(people, group).admins)

    def seen() -> int:
        return len(people.call(admin, "GET", "/v1/groups").json()["groups"])

    return Change(operator, "POST", "/v1/groups", body, truth, 0, 1, seen, (201, 409))


def member_of(people: People, *, leaves: bool) -> Change:
    admin, member = people.person(), people.person()
    group = people.group(*([member] if leaves else []), admins=(admin,))
    vfolder = people.vfolder(group, a="1")
    path = f"/v1/groups/{group}/members"

    def truth() -> int:
        return 200 if member.id in subject_of(people, group).members else 404

    seen = partial(status, people, member, f"/v1/vfolders/{vfolder.id}/content?path=a")
    if leaves:
        path = f"{path}/{member.id}"
        return Change(admin, "DELETE", path, None, truth, 200, 404, seen, (204, 404))
    body = {"user": str(member.id)}
    return Change(admin, "POST", path, body, truth, 404, 200, seen, (200,))


def member_added(people: People) -> Change:
    return member_of(people, leaves=False)


def member_removed(people: People) -> Change:
    return member_of(people, leaves=True)


def links_of_a_group_off(people: People) -> Change:
    admin = people.person()
    group = people.group(admins=(admin,))

    def truth() -> str:
        return str(subject_of(people, group).links_allowed)

    def seen() -> str:
        (found,) = people.call(admin, "GET", "/v1/groups").json()["groups"]
        return str(found["links_allowed"])

    body = {"links_allowed": False}
    return Change(admin, "PATCH", f"/v1/groups/{group}", body, truth, "True", "False", seen, (200,))


def user_of(people: People, *, blocks: bool) -> Change:
    operator, user = people.operator(), people.person()
    path = f"/v1/users/{user.id}"
    if not blocks:
        assert people.call(operator, "POST", f"{path}/block", WHY).status_code == 200

    def truth() -> int:
        return 401 if subject_of(people, user.id).blocked else 200

    seen = partial(status, people, user, "/v1/me")
    old, new = (200, 401) if blocks else (401, 200)
    end = "block" if blocks else "unblock"
    return Change(operator, "POST", f"{path}/{end}", WHY, truth, old, new, seen, (200,))


def user_blocked(people: People) -> Change:
    return user_of(people, blocks=True)


def user_unblocked(people: People) -> Change:
    return user_of(people, blocks=False)


def key_of_a_user_revoked(people: People) -> Change:
    change, operator = key_revoked(people), people.operator()
    key, owner = change.path.rpartition("/")[2], change.who
    change.path = f"/v1/users/{owner.id}/keys/{key}/revoke"
    change.who, change.method, change.body = operator, "POST", WHY
    return change


def total_limited(people: People) -> Change:
    operator, user = people.operator(), people.person()
    path = f"/v1/quotas/{user.word}"

    def truth() -> int | None:
        return subject_of(people, user.id).total_limit_bytes

    def seen() -> int | None:
        return subject_of(people, user.id).total_limit_bytes

    body = {"view": "total", "limit_bytes": 1000}
    return Change(operator, "PUT", path, body, truth, None, 1000, seen, (200,))


CHANGES: tuple[Made, ...] = (
    *(key_made, key_renamed, key_rotated, key_revoked),
    *(grant_given, grant_changed, grant_taken, grant_left, grants_of_the_manager, glass_broken),
    *(link_made, link_changed, link_revoked),
    *(vfolder_made, vfolder_changed, owner_offered, owner_accepted),
    *(group_made, member_added, member_removed, links_of_a_group_off),
    *(user_blocked, user_unblocked, key_of_a_user_revoked, total_limited),
)


@pytest.fixture(scope="module")
def doors(people: People) -> dict[str, Flask]:
    """The doors that are killed: made here, and used in children alone."""
    return {"client": client_door(people.settings), "manager": manager_door(people.settings)}


def sent(app: Flask, change: Change) -> int:
    headers = {**change.who.headers, **change.headers}
    options = {} if change.body is None else {"json": change.body}
    answer = app.test_client().open(change.path, method=change.method, headers=headers, **options)
    return answer.status_code


def changes_in_log(people: People) -> list[str]:
    """The decisions of all changes in the audit log, whose chain is whole."""
    directory = people.settings.state_dir / audit.DIRECTORY
    _, broken = audit.verify(directory)
    assert broken == []
    texts = [text for path in audit.files(directory) for text in path.read_bytes().splitlines()]
    lines = [msgspec.json.decode(text) for text in texts]
    return [line["decision"] for line in lines if line["act"] not in OPENINGS]


def drafts(people: People) -> set[str]:
    """What writers of records left that did not end."""
    top = people.settings.directory / "local"
    return {str(path) for path in top.glob("*/.vfolder/meta/.*")}


@pytest.mark.parametrize("made", CHANGES, ids=lambda made: made.__name__)
def test_a_change_is_whole_or_absent(people: People, doors: dict[str, Flask], made: Made) -> None:
    # Each change is killed at other steps, and all of them together at all.
    number, answer = 1 + CHANGES.index(made) % STRIDE, None
    ends = []
    while answer is None:
        assert number < STEPS_MAX, "it never ends"
        answer, end = tried(people, doors, made(people), number)
        ends.append(end)
        number += STRIDE
    assert int(answer) in (200, 201, 204), answer
    assert ends[-1] == "new"
    assert "old" in ends, "it was killed before the change"


def tried(
    people: People, doors: dict[str, Flask], change: Change, number: int
) -> tuple[str | None, str]:
    """Kill a change at one step, and let its request come again.

    Returns:
        The answer, where it ended before that step; and whether the change was made.
    """
    wait_for(lambda: change.seen() in change.olds)
    before, had = len(changes_in_log(people)), drafts(people)
    app = doors[change.door]
    warm = partial(app.test_client().get, "/health")
    answer = killed_at(number, warm, partial(sent, app, change))
    lines, truth = changes_in_log(people)[before:], change.truth()
    is_made = truth == change.new
    assert is_made or truth in change.olds, (number, truth)
    # A line without its change is possible: the line is written first.
    assert lines == ["allowed"] or (lines == [] and not is_made), (number, lines)
    # The living door sees what the files say.
    wait_for(lambda: change.seen() == truth, 60, f"step {number}: {truth}")
    if change.door == "client":
        again = people.call(
            change.who, change.method, change.path, change.body, headers=change.headers
        )
        assert again.status_code in change.again, (number, again.text)
        last = change.twice if change.twice is not None and is_made else change.new
        assert change.truth() == last, number
        # The living door may write the last use of a key just now.
        late = "the next change takes the place of what was begun"
        wait_for(lambda: drafts(people) <= had, 60, late)
        wait_for(lambda: change.seen() == last, 60, f"step {number}, again: {last}")
    return answer, "new" if is_made else "old"
