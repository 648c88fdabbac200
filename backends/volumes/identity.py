"""The identity of a volume: its marker, and what the store and this node remember of it.

The store has the UUID of every volume. Each node keeps it too, in case the store loses it
(`state-dir/volume-ids/<name>`). A directory is the volume when its marker has this UUID. A path
whose mount went away leads to an empty directory, which has none: the volume is then unavailable,
and nothing is done there. It is available again as soon as the path leads to the marker.

The first proof of a new volume makes the marker. A top that takes no file (read-only, full, of
another owner) is known by what the kernel says of its file system, until it takes one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import redis

from backends.fs import linux, marker
from core.cluster import VolumeIdStore
from core.errors import Unavailable, VolumeUnavailable
from core.redis import Database, connect
from core.settings import Settings
from core.telemetry import logger

#: Below `state-dir`: one file for each volume that this node proved.
KEPT = "volume-ids"
_log = logger(__name__)


class MarkerIdentity:
    """The identity of one volume, as one process knows it (see `backends.base.MountIdentity`)."""

    def __init__(self, settings: Settings, volume: str) -> None:
        self._settings = settings
        self._volume = volume
        #: The facts of the marker that was read and found right.
        self._proved: marker.Facts | None = None
        #: The UUID of the volume; empty before the first proof.
        self._id = ""
        self._problem = ""
        self._store: VolumeIdStore | None = None

    def check(self, root: int) -> None:
        """See `MountIdentity.check`: equal facts are the same marker on the same file system."""
        if marker.facts(root) != self._proved:
            self._prove(root, self._settle_here)

    def is_proved(self, facts: tuple[int, int, int]) -> bool:
        """See `MountIdentity.is_proved`."""
        return facts == self._proved

    def prove(self, root: int) -> None:
        """See `MountIdentity.prove`."""
        self._prove(root, self._settle)

    def _prove(self, root: int, settle: Callable[[int], tuple[str, marker.Facts]]) -> None:
        try:
            self._id, self._proved = settle(root)
        except VolumeUnavailable as error:
            self._proved = None
            self._notice(error.detail)
            raise
        self._notice("")

    def adopt(self, root: int, *, new: bool) -> str:
        """Take the file system below a descriptor for the volume from now on; return its UUID.

        Its marker is kept, or made where there is none. With `new` it gets another UUID.

        Raises:
            VolumeUnavailable: the marker is of another volume, or the path must be a mount point.
            Unavailable: the store does not answer.
            OSError: the file system failed.
        """
        self._check_mount(root)
        ids = self._known_ids()
        if ids is None:
            raise Unavailable("The store does not answer; try again later.")
        found = marker.read(root)
        if new or found is None or not found.uuid:
            marker.make(root, replace=found is not None)
            found = marker.read(root)
        adopted = found.uuid if found is not None else marker.of_file_system(root)
        self._check_alone(adopted, ids)
        try:
            self._ids().replace(self._volume, adopted)
        except redis.RedisError as error:
            raise Unavailable("The store does not answer; try again later.") from error
        self._keep(adopted)
        return adopted

    # -- What is there -----------------------------------------------------------------------------
    def _settle_here(self, root: int) -> tuple[str, marker.Facts]:
        """Do as `_settle`, without the store where the marker is the one that this node keeps."""
        self._check_mount(root)
        found = marker.read(root)
        if found is not None and found.uuid and found.uuid == (self._kept() or self._id):
            return found.uuid, found.facts
        return self._settle(root)

    def _settle(self, root: int) -> tuple[str, marker.Facts]:
        """Return the id that was found and known, or that the volume gets now."""
        self._check_mount(root)
        ids = self._known_ids()  # before the marker is read: another process may make both now
        known, found = self._known(ids), marker.read(root)
        if found is None:
            return self._settle_unmarked(root, known, ids)
        if not found.uuid:
            raise self._unavailable(f"its marker {marker.NAME} cannot be read")
        if known and known not in (found.uuid, marker.of_file_system(root)):
            self._id = known  # another node may have adopted it
            self._keep(known)
            raise self._unavailable("another file system is mounted at its path")
        self._remember(found.uuid, known, ids)
        return found.uuid, found.facts

    def _check_mount(self, root: int) -> None:
        if self._settings.vfolder.mounts.requires(self._volume) and not linux.is_mount_root(root):
            raise self._unavailable("its path is no mount point, and require-mount names it")

    def _settle_unmarked(
        self, root: int, known: str, ids: Mapping[str, str] | None
    ) -> tuple[str, marker.Facts]:
        own = marker.of_file_system(root)
        if known not in ("", own):
            raise self._unavailable(f"the directory at its path has no {marker.NAME}")
        if ids is None:
            if not known:
                raise self._unavailable("it was never proved, and the store does not answer")
            return own, marker.facts(root)
        made = marker.make(root)
        found = marker.read(root)
        if found is None:  # the top takes no file
            self._remember(own, known, ids)
            return own, marker.facts(root)
        try:
            self._remember(found.uuid, known, ids)
        except VolumeUnavailable:
            if found.uuid == made:
                marker.remove(root)
            raise
        return found.uuid, found.facts

    def _unavailable(self, why: str) -> VolumeUnavailable:
        return VolumeUnavailable(
            f"Volume {self._volume} is not available: {why}.", volume=self._volume
        )

    def _notice(self, problem: str) -> None:
        """Log a change once."""
        if problem and problem != self._problem:
            _log.warning("volume unavailable", volume=self._volume, reason=problem)
        elif self._problem and not problem:
            _log.info("volume available again", volume=self._volume)
        self._problem = problem

    # -- What is remembered ------------------------------------------------------------------------
    def _ids(self) -> VolumeIdStore:
        if self._store is None:
            self._store = VolumeIdStore(connect(self._settings, Database.JOBS))
        return self._store

    def _known_ids(self) -> Mapping[str, str] | None:
        """Return the ids of all volumes; None while the store does not answer."""
        try:
            return self._ids().all()
        except redis.RedisError as error:
            _log.info("volume ids not read", reason=type(error).__name__)
            return None

    def _known(self, ids: Mapping[str, str] | None) -> str:
        """Return the id of this volume; empty when no component knows one."""
        return (ids or {}).get(self._volume) or self._id or self._kept()

    def _remember(self, found: str, known: str, ids: Mapping[str, str] | None) -> None:
        """Write the id to the store and to this node, where they do not have it.

        Raises:
            VolumeUnavailable: another volume has this id, or this volume got another one meanwhile.
        """
        if ids is not None and ids.get(self._volume) != found:
            self._check_alone(found, ids)
            try:
                if known not in ("", found):
                    self._ids().replace(self._volume, found)
                elif self._ids().remember(self._volume, found) != found:
                    raise self._unavailable("another node proved another file system for it")
            except redis.RedisError as error:  # the next proof writes it
                _log.info("volume id not written", reason=type(error).__name__)
                return
        self._keep(found)

    def _check_alone(self, found: str, ids: Mapping[str, str]) -> None:
        """Refuse the marker of another volume of this node: a copied disk has its UUID, too."""
        tables = self._settings.volume
        here = self._settings.volume_path(tables[self._volume])
        for name, other in ids.items():
            if other != found or name == self._volume or name not in tables:
                continue
            if self._settings.volume_path(tables[name]) != here:
                raise self._unavailable(
                    f"its marker is that of volume {name}; give a copy an id of its own with "
                    f"`vfolder volumes adopt --new {self._volume}`"
                )

    def _kept(self) -> str:
        """Return the id that this node keeps; empty when it keeps none."""
        try:
            return self._file.read_text("ascii").strip()
        except (FileNotFoundError, PermissionError):
            return ""

    def _keep(self, found: str) -> None:
        """Keep the id at this node; a process without the right leaves that to the worker."""
        if self._kept() == found:
            return
        draft = self._file.with_name(f".{self._volume}.{found}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(f"{found}\n", "ascii")
            draft.replace(self._file)
        except OSError as error:
            _log.info("volume id not kept", volume=self._volume, errno=error.errno)

    @property
    def _file(self) -> Path:
        return self._settings.state_dir / KEPT / self._volume
