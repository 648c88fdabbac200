"""A request of each verb, and what is true once it is done."""

import zipfile
from collections.abc import Callable
from pathlib import Path

from backends.fs import layout
from core.jobs import Job, State
from core.jobs.requests import (
    DeleteFilesRequest,
    DeleteRequest,
    ExtractRequest,
    PurgeRequest,
    RescanRequest,
    RestoreRequest,
    TransferRequest,
    UsageRequest,
)
from core.names import VFolderId
from tests.chaos.check import differences
from tests.chaos.site import VOLUME, Site

FILES = 60
KEEP_SECONDS = 3600.0


def succeeded(site: Site, job: Job) -> Job:
    ended = site.wait_for_end(job)
    assert ended.state is State.SUCCEEDED, ended.document()
    return ended


def trashed(site: Site) -> tuple[VFolderId, str]:
    vfolder = site.filled(FILES)
    request = DeleteRequest(volume=VOLUME, vfolder=str(vfolder), keep_seconds=KEEP_SECONDS)
    return vfolder, succeeded(site, site.submit(request)).id


def path_of(site: Site, vfolder: VFolderId) -> Path:
    return site.backend.vfolder_path(vfolder)


def every_verb(site: Site) -> list[tuple[object, Callable[[], bool]]]:
    """Return a request of each verb, and what is true once it is done."""
    one, copy, sent, gone, thinner = (site.filled(FILES) for _ in range(5))
    for target in (copy, sent):
        succeeded(site, site.delete(target))
    kept, (restored, _), (purged, purge) = site.filled(FILES), trashed(site), trashed(site)
    with zipfile.ZipFile(path_of(site, one) / "a.zip", "w") as archive:
        archive.writestr("inside", b"unpacked")
    trash = site.volume / layout.area(purged.scope, layout.TRASH)
    names = {"volume": VOLUME}
    return [
        (
            TransferRequest(**names, source=str(one), target=str(sent)),
            lambda: differences(path_of(site, one) / "d1", path_of(site, sent) / "d1") == "",
        ),
        (
            DeleteRequest(**names, vfolder=str(gone)),
            lambda: not path_of(site, gone).exists(),
        ),
        (
            DeleteRequest(**names, vfolder=str(kept), keep_seconds=KEEP_SECONDS),
            lambda: not path_of(site, kept).exists(),
        ),
        (
            RestoreRequest(**names, vfolder=str(restored)),
            (path_of(site, restored) / "d1").exists,
        ),
        (
            PurgeRequest(**names, vfolder=str(purged), trash=purge),
            lambda: not (trash / purge).exists(),
        ),
        (
            DeleteFilesRequest(**names, vfolder=str(thinner), paths=["d1"], recursive=True),
            lambda: not (path_of(site, thinner) / "d1").exists(),
        ),
        (
            ExtractRequest(**names, vfolder=str(one), target="out", archive="zip", source="a.zip"),
            lambda: (path_of(site, one) / "out" / "inside").read_bytes() == b"unpacked",
        ),
        (UsageRequest(**names, vfolder=str(one)), lambda: True),
        (RescanRequest(**names), lambda: True),
    ]
