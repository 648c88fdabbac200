"""How records are found by the bare id of a vfolder: where a caller may see one, and no further."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from backends.volumes.access import AccessRecords
from backends.volumes.access.subjects import LocalVolumes
from core.access import AccessCache, AccessIndex, Grant
from core.errors import VFolderNotFound
from core.names import QuotaScope, VFolderId
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.valkey import Valkey

USER, OTHER = uuid4(), uuid4()


class CountedVolumes(LocalVolumes):
    """The volumes of this node; it counts what is done with them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.done = Counter[str]()

    def on_volume(self, volume: str, operation: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        self.done[operation.__name__] += 1
        return super().on_volume(volume, operation, *args, **kw)


class Site:
    """The records of one volume, as a user sees them who has one scope."""

    def __init__(self, directory: Path, url: str) -> None:
        self.settings = settings_in(directory, url, '[vfolder.access]\nhome = "local"')
        self.volumes = CountedVolumes(self.settings)
        self.records = AccessRecords(self.settings, self.volumes, AccessCache(self.settings))

    def vfolder(self, user: UUID, *grants: Grant) -> VFolderId:
        """A new vfolder; with grants it has a record."""
        vfolder = VFolderId(QuotaScope.parse(f"user:{user}"), uuid4())
        (self.settings.directory / "local" / vfolder.directory).mkdir(parents=True)
        if grants:
            known = self.records.read("local", vfolder)
            self.records.change(known, lambda record: structs.replace(record, grants=grants))
        return vfolder

    def found(self, vfolder: UUID, *, fresh: bool = False) -> list[UUID]:
        """What a new process finds, which knows of nothing."""
        records = AccessRecords(self.settings, self.volumes, AccessCache(self.settings))
        self.volumes.done.clear()
        within = [USER.hex, "."]
        found = records.find(str(vfolder), USER, fresh=fresh, within=lambda: within)
        return [one.vfolder.id for one in found]


@pytest.fixture
def site(tmp_path: Path, valkey: Valkey) -> Site:
    with valkey.client() as client:
        client.flushdb()
    return Site(tmp_path, valkey.url)


@pytest.mark.parametrize("fresh", [False, True])
def test_an_unknown_id_costs_a_look_into_ones_own_scopes(site: Site, *, fresh: bool) -> None:
    """Who tries ids may not make a storage look into all of its scopes each time."""
    own, hidden = site.vfolder(USER), site.vfolder(OTHER)
    shared = site.vfolder(OTHER, Grant(id="g", to=f"user:{USER}", permission="ro"))
    assert site.found(uuid4(), fresh=fresh) == []
    assert site.volumes.done["find"] == 1, "the index was not built; so every scope counts"
    AccessIndex(site.settings).rebuild("local", ())
    index = AccessIndex(site.settings)
    index.put(site.records.read("local", shared).record)
    for unknown in (uuid4(), hidden.id):
        assert site.found(unknown, fresh=fresh) == []
        assert site.volumes.done == {"locate": 1}
    for known in (own, shared):
        assert site.found(known.id, fresh=fresh) == [known.id]


def test_a_vfolder_that_is_gone_costs_a_look_into_its_scope(site: Site) -> None:
    """Old jobs name vfolders that are gone, and people look at their jobs again and again."""
    gone = VFolderId(QuotaScope.parse(f"user:{USER}"), uuid4())
    AccessIndex(site.settings).rebuild("local", ())
    site.volumes.done.clear()
    with pytest.raises(VFolderNotFound):
        site.records.read("local", gone)
    assert site.volumes.done == {"locate": 1}
    own = site.vfolder(USER)
    assert site.records.read("local", own).vfolder == own


def test_without_the_store_every_scope_is_looked_at(site: Site, valkey: Valkey) -> None:
    own = site.vfolder(USER)
    AccessIndex(site.settings).rebuild("local", ())
    valkey.kill()
    try:
        assert site.found(own.id) == [own.id]
        assert site.found(uuid4()) == []
    finally:
        valkey.start()
