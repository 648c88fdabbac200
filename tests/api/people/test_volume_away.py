"""A volume that is away hides nothing of the others, and tells no one what others have."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from api.access import AccessService, FoundVFolder
from api.volumes import KnownVFolder
from core.access import ACTS, PERSON_SCOPES, Caller, CredentialFacts, Subject, decide_rule, records
from core.errors import StorageError, VFolderNotFound, VolumeUnavailable
from core.names import QuotaScope, VFolderId

MINE, OTHERS, ABSENT = (UUID(int=number) for number in (100, 101, 102))
ME, OTHER = UUID(int=1), UUID(int=2)
CALLER = Caller(
    subject=Subject(kind="user", id=ME),
    credential=CredentialFacts(kind="key", id="k", scopes=PERSON_SCOPES),
)


class Records:
    """The volume `local`, and the volume `second`, which is away."""

    def __init__(self) -> None:
        self._known = {
            str(vfolder): VFolderId(QuotaScope.parse(f"user:{user}"), vfolder)
            for vfolder, user in ((MINE, ME), (OTHERS, OTHER))
        }

    def find(self, text: str, _: UUID, *, fresh: bool = False) -> list[KnownVFolder]:
        volume, _, identity = text.rpartition(":")
        if volume == "second" or fresh:
            raise VolumeUnavailable("Nothing is mounted there.")
        vfolder = self._known.get(identity)
        if vfolder is None:
            return []
        return [KnownVFolder("local", vfolder, records.implied("local", vfolder), "")]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> AccessService:
    found: Any = AccessService.__new__(AccessService)
    found.parts = SimpleNamespace(records=Records())
    found.deciders = SimpleNamespace(decide_rule=decide_rule)
    found._absent = {}
    found.vfolders = SimpleNamespace(trashed_in=lambda *_: iter(()))
    monkeypatch.setattr(AccessService, "volumes", lambda _: ["local", "second"])
    service: AccessService = found
    return service


def found(service: AccessService, act: str, vfolder: UUID) -> str:
    try:
        return service.find(CALLER, ACTS[act], str(vfolder)).volume
    except StorageError as error:
        return type(error).__name__


def test_what_another_volume_has_can_be_read(service: AccessService) -> None:
    for act in ("vfolders.read", "entries.read"):
        assert found(service, act, MINE) == "local"
        assert found(service, act, MINE) == "local"


def test_a_change_waits_because_the_id_may_be_on_both(service: AccessService) -> None:
    assert found(service, "entries.write", MINE) == VolumeUnavailable.__name__
    assert service.find(CALLER, ACTS["entries.write"], f"local:{MINE}").volume == "local"


def test_what_is_hidden_looks_as_what_is_absent(service: AccessService) -> None:
    for act in ("vfolders.read", "entries.read", "entries.write"):
        assert found(service, act, OTHERS) == found(service, act, ABSENT)
    for vfolder in (OTHERS, ABSENT):
        with pytest.raises(VFolderNotFound):
            service.find(CALLER, ACTS["vfolders.read"], f"local:{vfolder}")


def test_a_list_has_what_the_other_volumes_have(service: AccessService) -> None:
    def of_scope(volume: str, scope: QuotaScope) -> Iterator[FoundVFolder]:
        (known,) = Records().find(f"{volume}:{MINE}", ME)
        yield FoundVFolder(known._replace(vfolder=VFolderId(scope, MINE)))

    parts: Any = service
    parts.vfolders = SimpleNamespace(of_scope=of_scope, shared=lambda *_: iter(()))
    away = set[str]()
    listed = list(service.known(CALLER, ["local", "second"], away, trashed=False))
    assert [one.volume for one in listed] == ["local"]
    assert away == {"second"}
