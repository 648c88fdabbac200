"""One file system of a Storage Scale cluster by the mm-commands, on a node that belongs to it."""

from pathlib import Path

from backends.base import Capacity, HardwareInfo, HardwareStatus
from backends.mounted.rest import ArrayRefused, Busy, Reason, jobs
from backends.systems.gpfs.commands import Commands, Row
from backends.systems.gpfs.interface import (
    FilesetNotEmpty,
    FilesetQuota,
    FullScaleInterface,
    LimitKind,
    LimitPair,
    ScaleFileset,
    ScaleFileSystem,
    ScaleSnapshot,
    exceeded,
)
from backends.systems.gpfs.options import GpfsOptions
from core.errors import BackendFailed, ConfigurationError

_KIB = 1024
_NOT_LINKED = ("", "--")
_NOT_EMPTY = "6027-1563"
#: What a command says of a path of another file system.
_NOT_GPFS = "not in a GPFS file system"
_ROOT_SETTING = "enforceFilesetQuotaOnRoot"
_YES = ("yes", "true", "1")
_FILESET = "FILESET"
_LONGEST_PAUSE_SECONDS = 4.0
_UP = "active"


class CommandInterface(FullScaleInterface):
    """The mm-commands, which are synchronous. They report no rates."""

    sets_owner = False

    def __init__(self, options: GpfsOptions) -> None:
        self._options = options
        self._fs = options.gpfs_fs_name
        self._commands = Commands(options)

    def file_system(self) -> ScaleFileSystem:
        """See `ScaleInterface.file_system`; two commands."""
        try:
            rows = self._commands.rows("mmlsfs", self._fs)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            rows = []
        facts = {row.get("fieldName", ""): row.get("data", "") for row in rows}
        if not facts.get("blockSize", "").isdigit():
            raise ConfigurationError(f"Storage Scale has no file system {self._fs!r} here.")
        return ScaleFileSystem(
            mount_point=facts.get("defaultMountPoint", ""),
            block_bytes=int(facts["blockSize"]),
            enforced="fileset" in facts.get("quotasEnforced", "").lower(),
            per_fileset=facts.get("perfilesetQuotas", "").lower() in _YES,
            holds_root=self._holds_root(),
        )

    def _holds_root(self) -> bool | None:
        """Return whether root keeps to the limits; the setting is off where it has no value."""
        try:
            rows = self._commands.rows("mmlsconfig")
        except (ArrayRefused, Busy):
            return None
        named = [row for row in rows if row.get("configParameter") == _ROOT_SETTING]
        return any(row.get("value", "").lower() in _YES for row in named)

    def fileset(self, name: str) -> ScaleFileset | None:
        """See `ScaleInterface.fileset`."""
        return self._only(name)

    def linked_at(self, path: str) -> ScaleFileset | None:
        """See `ScaleInterface.linked_at`; the command finds it by the path."""
        return self._only("-J", path)

    def _only(self, *which: str) -> ScaleFileset | None:
        try:
            rows = self._commands.rows("mmlsfileset", self._fs, *which)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return None
        if not rows:
            return None
        name, path = rows[0].get("filesetName", ""), rows[0].get("path", "")
        return ScaleFileset(name, None if path in _NOT_LINKED else path)

    def create(self, name: str, path: str, owner: str) -> None:
        """See `ScaleInterface.create`; the new directory belongs to root."""
        del path, owner
        options = self._options
        limits = [str(n) for n in (options.gpfs_max_inodes, options.gpfs_alloc_inodes) if n]
        inodes = ["--inode-limit", ":".join(limits)] if options.gpfs_max_inodes else []
        inodes = inodes if options.gpfs_inode_space == "new" else []
        space = ["--inode-space", options.gpfs_inode_space, *inodes]
        self._change(Reason.EXISTS, "mmcrfileset", self._fs, name, *space)

    def link(self, name: str, path: str) -> None:
        """See `ScaleInterface.link`."""
        self._change(None, "mmlinkfileset", self._fs, name, "-J", path)

    def unlink(self, name: str) -> None:
        """See `ScaleInterface.unlink`."""
        self._change(None, "mmunlinkfileset", self._fs, name)

    def delete(self, name: str) -> None:
        """See `ScaleInterface.delete`."""
        try:
            self._change(Reason.NOT_FOUND, "mmdelfileset", self._fs, name)
        except ArrayRefused as refusal:
            if refusal.code == _NOT_EMPTY:
                raise FilesetNotEmpty(refusal.detail) from None
            raise

    def quota(self, name: str) -> FilesetQuota:
        """See `ScaleInterface.quota`; `-v` shows limits of filesets without any block, too."""
        try:
            rows = self._commands.rows("mmlsquota", "-v", "-j", name, self._fs)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            rows = []
        for row in rows:
            if row.get("quotaType", "").upper() == _FILESET and row.get("name", name) == name:
                return _quota(row)
        return FilesetQuota()

    def set_limits(
        self, name: str, kind: LimitKind, limits: LimitPair, *, per_fileset: bool
    ) -> None:
        """See `ScaleInterface.set_limits`; one command for both kinds of file systems."""
        del per_fileset
        pair = limits.soft or 0, limits.hard or 0
        words = [f"{one // _KIB}K" for one in pair] if kind == "block" else [str(n) for n in pair]
        self._change(None, "mmsetquota", f"{self._fs}:{name}", f"--{kind}", ":".join(words))

    def snapshots(self, fileset: str) -> list[ScaleSnapshot]:
        """See `ScaleInterface.snapshots`."""
        try:
            rows = self._commands.rows("mmlssnapshot", self._fs, "-j", fileset)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return []
        valid = [row for row in rows if row.get("status", "").lower() == "valid"]
        return [ScaleSnapshot(row["directory"], int(row["snapID"])) for row in valid]

    def create_snapshot(self, fileset: str, name: str) -> None:
        """See `ScaleInterface.create_snapshot`."""
        self._change(Reason.EXISTS, "mmcrsnapshot", self._fs, name, "-j", fileset)

    def delete_snapshot(self, fileset: str, name: str) -> None:
        """See `ScaleInterface.delete_snapshot`."""
        self._change(Reason.NOT_FOUND, "mmdelsnapshot", self._fs, name, "-j", fileset)

    def has_directory(self, mount_point: str, path: str) -> bool:
        """See `ScaleInterface.has_directory`: a command reads its attributes as GPFS has them."""
        where = Path(mount_point, path)
        if not where.is_dir():
            return False
        try:
            self._commands.run("mmlsattr", "-L", str(where))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND and _NOT_GPFS not in refusal.detail:
                raise
            return False
        return True

    def capacity(self) -> Capacity:
        """See `ScaleInterface.capacity`: the total of the command, which counts every pool."""
        rows = self._commands.rows("mmdf", self._fs)
        for row in rows:
            if row[""] == "fsTotal":
                total, free = _number(row, "totalSize"), _number(row, "freeBlocks")
                if total is not None and free is not None:
                    return Capacity(total * _KIB, (total - free) * _KIB)
        return Capacity(None, None)

    def health(self) -> HardwareInfo:
        """See `ScaleInterface.health`."""
        rows = self._commands.rows("mmgetstate", "-a")
        ill = [row for row in rows if row.get("state") != _UP]
        metadata = {"nodes": str(len(rows)), "nodes_not_healthy": str(len(ill))}
        if not rows:
            raise BackendFailed("Storage Scale lists no node.")
        if not ill:
            return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
        words = [f"node {row.get('nodeName', '?')} is {row.get('state', 'unknown')}" for row in ill]
        status = HardwareStatus.OFFLINE if len(ill) == len(rows) else HardwareStatus.DEGRADED
        return HardwareInfo(status, f"{'; '.join(words)}.", metadata)

    def _change(self, fine: Reason | None, program: str, *arguments: str) -> None:
        """Run a command until the cluster is not busy; a refusal for the reason `fine` is fine."""

        def finished() -> bool:
            try:
                self._commands.run(program, *arguments)
            except Busy:
                return False
            except ArrayRefused as refusal:
                if refusal.reason is not fine:
                    raise
            return True

        jobs.wait(finished, _LONGEST_PAUSE_SECONDS)


def _quota(row: Row) -> FilesetQuota:
    used = _number(row, "blockUsage")
    soft, hard = ((_number(row, name) or 0) * _KIB for name in ("blockQuota", "blockLimit"))
    return FilesetQuota(
        used_bytes=None if used is None else used * _KIB,
        block=LimitPair(soft or None, hard or None),
        by_default=row.get("defQuota", "").lower() in _YES,
        used_inodes=_number(row, "filesUsage"),
        files=LimitPair(_number(row, "filesQuota") or None, _number(row, "filesLimit") or None),
        exceeded=exceeded(row.get("blockGrace", ""), row.get("filesGrace", "")),
    )


def _number(row: Row, name: str) -> int | None:
    text = row.get(name, "")
    return int(text) if text.isdigit() else None
