"""The request to unpack an archive."""

import re
from typing import ClassVar, Literal

from core.jobs.requests.base import LockMode, OneVFolder, lock_key, wrong
from core.names import VFolderId, VFolderPath

_UPLOAD_ID = re.compile(r"[A-Za-z0-9-]{1,128}")


class ExtractRequest(OneVFolder, frozen=True, kw_only=True, tag="extract"):
    """Unpack an archive into a directory that must not exist and appears whole."""

    mode: ClassVar[LockMode] = "shared"
    target: str
    archive: Literal["tar", "zip"]
    #: The archive is this file of the vfolder …
    source: str = ""
    #: … or this whole upload, whose bytes go with the job.
    upload: str = ""

    def natural(self) -> str:
        """One job at a time makes a target."""
        return f"{lock_key(self.volume, self.vfolder)}/{VFolderPath.parse(self.target)}"

    def check(self) -> None:
        """The names parse, the target is not the root, and there is one archive."""
        VFolderId.parse(self.vfolder)
        if VFolderPath.parse(self.target).is_root:
            raise wrong("target", "names a directory that will appear")
        if bool(self.source) == bool(self.upload):
            raise wrong("source", "names the archive")
        if self.source and VFolderPath.parse(self.source).is_root:
            raise wrong("source", "names a file")
        if self.upload and not _UPLOAD_ID.fullmatch(self.upload):
            raise wrong("upload", "is the id of an upload")
