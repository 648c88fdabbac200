"""A node with people: a client door with `[vfolder.access]`, a worker, users, a group and keys."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from msgspec import structs

from backends.entries import access_files
from backends.volumes import Volumes
from backends.volumes.access.subjects import LocalVolumes, SubjectStore
from core.access import AccessCache, AccessChange, Grant, Scope, Seals, VFolderRecord, records
from core.access.credentials import keys as api_keys
from core.access.credentials.keys import KeyRequest
from core.access.permissions import PERSON_SCOPES
from core.names import QuotaScope, VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import running_valkey
from tests.support.worker import running_worker

MORE = """
[volume.second]
backend = "vfs"
path = "second"
[vfolder.doors]
processes = 1
# Tests write records past the index of the volume, which is not built: each look is at the files.
[vfolder.sweeps]
rescan-seconds = 0
[vfolder.access]
home = "local"
origins = ["https://ui.example"]
# The tests send many refused credentials from one network.
failures = 1000000
failures-per-network = 1000000
"""


@dataclass
class Person:
    """A user with a key."""

    id: UUID = field(default_factory=uuid4)
    key: str = ""

    @property
    def word(self) -> str:
        return f"user:{self.id}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


@dataclass
class People:
    """The node, and what makes users, groups and vfolders on it."""

    settings: Settings
    door: RunningDoor
    subjects: SubjectStore
    cache: AccessCache

    def person(self, scopes: frozenset[Scope] = PERSON_SCOPES) -> Person:
        """A new user with a key of these scopes."""
        found = Person()
        found.key = self.new_key(found, scopes)
        return found

    def operator(self, *scopes: Scope) -> Person:
        """An operator with a key of these scopes; without any, of all."""
        found = Person()
        found.key = self.new_key(found, frozenset(scopes or Scope), operator=True)
        return found

    def new_key(
        self,
        person: Person,
        scopes: frozenset[Scope] = PERSON_SCOPES,
        *,
        operator: bool = False,
        vfolders: tuple[UUID, ...] | None = None,
    ) -> str:
        table = self.settings.vfolder.access
        assert table is not None
        request = KeyRequest(scopes=tuple(sorted(scopes)), vfolders=vfolders)
        key, text = api_keys.new_key(request, operator=operator, table=table, now=time.time())
        self.subjects.add_key(person.id, key, table)
        return text

    def revoke(self, person: Person) -> None:
        """End the key of a person."""
        key_id = api_keys.parsed(person.key).id

        def ended(key: api_keys.ApiKey) -> api_keys.ApiKey:
            return structs.replace(key, revoked_at=time.time())

        assert self.subjects.change_key(person.id, key_id, ended)

    def group(self, *members: Person, admins: tuple[Person, ...] = ()) -> UUID:
        """A new group that is kept here."""
        group = uuid4()
        self.subjects.change(
            "group",
            group,
            lambda record: structs.replace(
                record,
                members=tuple(one.id for one in members),
                admins=tuple(one.id for one in admins),
                members_kept=True,
            ),
        )
        return group

    # -- VFolders ----------------------------------------------------------------------------------
    def vfolder(self, owner: Person | UUID, volume: str = "local", **files: str) -> VFolderId:
        """A new vfolder of a user or of a group, with these files, made below all doors."""
        kind, identity = ("user", owner.id) if isinstance(owner, Person) else ("project", owner)
        vfolder = VFolderId(QuotaScope.parse(f"{kind}:{identity}"), uuid4())
        self.fill(vfolder, volume, **files)
        return vfolder

    def fill(self, vfolder: VFolderId, volume: str = "local", **files: str) -> None:
        path = self.path(vfolder, volume)
        path.mkdir(parents=True)
        for name, text in files.items():
            (path / name).write_text(text)

    def path(self, vfolder: VFolderId, volume: str = "local") -> Path:
        return self.settings.directory / volume / vfolder.directory

    def grant(self, vfolder: VFolderId, *grants: Grant, volume: str = "local") -> None:
        """Give the record of a vfolder these grants, as a file."""
        record = records.implied(volume, vfolder)
        self.write(structs.replace(record, grants=grants, revision=1), vfolder, volume)

    def write(self, record: VFolderRecord, vfolder: VFolderId, volume: str = "local") -> None:
        seals = Seals([self.settings.storage_proxy.secret])
        text = seals.seal(record, records.place_of(volume, vfolder))
        backend = Volumes(self.settings).get(volume)
        before = access_files.digest(access_files.read(backend, vfolder).text)
        access_files.replace(backend, vfolder, text, before)
        self.cache.changed(AccessChange(vfolders=(vfolder.id,), volumes=(volume,)))

    # -- Requests ----------------------------------------------------------------------------------
    def call(
        self, person: Person | None, method: str, path: str, body: Any = None, **options: Any
    ) -> requests.Response:
        """One request of a person, its answer checked against the OpenAPI document."""
        headers = {**(person.headers if person else {}), **options.pop("headers", {})}
        return self.door.call(method, path, body, headers=headers, **options)

    def ended(self, person: Person, job: str) -> dict[str, Any]:
        """The document of a job once it has ended."""

        def look() -> dict[str, Any]:
            found: dict[str, Any] = self.call(person, "GET", f"/v1/jobs/{job}").json()
            return found if found["done"] else {}

        return wait_for(look, 60)


def grant_to(word: str, permission: str, ends_in: float | None = None) -> Grant:
    """A grant; `ends_in` is seconds from now, negative for one that ended."""
    end = None if ends_in is None else time.time() + ends_in
    return Grant(id=uuid4().hex, to=word, permission=permission, expires_at=end)  # type: ignore[arg-type]


@contextmanager
def running_people(directory: Path, more: str, volume: str = "local") -> Iterator[People]:
    """A node with people in a directory; its worker serves a volume."""
    (directory / "second").mkdir()
    (directory / "valkey").mkdir()
    with running_valkey(directory / "valkey") as valkey:
        settings = settings_in(directory, valkey.url, more)
        with (
            running_door("client", settings) as door,
            running_worker(settings, volume),
            connect(settings, Database.LIVE) as client,
        ):
            cache = AccessCache(settings)
            secrets = [settings.storage_proxy.secret]
            subjects = SubjectStore(
                "local", secrets, LocalVolumes(settings), client, announce=cache.changed
            )
            yield People(settings, door, subjects, cache)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with running_people(tmp_path_factory.mktemp("people"), MORE) as found:
        yield found


def tree_of(path: Path) -> dict[str, int]:
    """What is in a directory, with sizes."""
    found = {}
    for top, _, names in os.walk(path):
        found |= {
            os.path.join(top, name): os.lstat(os.path.join(top, name)).st_size for name in names
        }
        found[top] = -1
    return found
