"""WEKA: a cluster with one file system, its directory quotas and its logins.

Written from WEKA's REST reference. Access tokens live 300 seconds and are renewed by a refresh
token that changes with each use; quotas belong to inodes, whose ids pass 2^53 and come as strings.
What is in a directory that gets a quota is counted in the background, if data services run. A
snapshot is one of the whole file system, in `.snapshots` at its top; a deleted one keeps its name
until its space is freed. PUT replaces a quota with its soft limit; PATCH changes what it names.
"""

import os
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simulators.arrays.tokens import TokenSimulator
from simulators.serving import Ask, Say
from simulators.shelf import BtrfsShelf, Shelf

USER, PASSWORD, FILE_SYSTEM = "vfolder", "sw0rdfish/weka", "research"
GRANULE = 4096
NO_LIMIT = 2**63 - 1
_INODE = "user.inode"
SNAPSHOTS = ".snapshots"
NAME_MAX = 32
_QUOTA_FIELDS = {"hard_limit_bytes", "soft_limit_bytes", "grace_seconds", "owner", "path"}
_SNAPSHOT_FIELDS = {"fs_uid", "name", "access_point", "source_snap_uid", "is_writable"}


def options(url: str) -> dict[str, Any]:
    """Return the options of a backend that speaks with it."""
    return {
        "weka_endpoint": url,
        "weka_username": USER,
        "weka_password": PASSWORD,
        "weka_fs_name": FILE_SYSTEM,
    }


@dataclass
class Profile:
    """What differs between releases and days."""

    #: Before 4.2 a list of quotas is an object keyed by id, not cut into pages.
    old_lists: bool = False
    page: int = 100
    #: Before 4.3 no path is resolved: quotas are set by the inode numbers of a mount.
    resolves: bool = True
    data_service: bool = True
    counting_seconds: float = 0.0
    missing_quota_status: int = 404
    password_change_required: bool = False
    status: str = "OK"
    io_status: str = "STARTED"
    #: Drives that do not work, of six.
    lost_drives: int = 0
    alerts: list[dict[str, Any]] = field(default_factory=list)
    access_seconds: float = 300.0
    #: Which processes have a sample of their rates: yes, some or no.
    sampled: str = "yes"
    #: The user may read alerts, and snapshots.
    reads_alerts: bool = True
    reads_snapshots: bool = True
    #: How long a deleted snapshot keeps its name.
    removing_seconds: float = 0.0


@dataclass
class Quota:
    """The quota of an inode."""

    inode: str
    path: str
    limit: int
    active_at: float = 0.0
    soft: int = NO_LIMIT
    grace: int = NO_LIMIT
    owner: str = ""
    #: Since when it is over its soft limit, in seconds.
    over: int = 0


@dataclass
class WekaSim(TokenSimulator):
    """The cluster; `shelf` is the root of the file system."""

    shelf: Shelf
    profile: Profile = field(default_factory=Profile)
    quotas: dict[str, Quota] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    logins: int = 0
    refreshes: int = 0
    wrong_passwords: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.uid = secrets.token_hex(8)
        self.snapshots: dict[str, dict[str, Any]] = {}
        self._count = 0
        (self.shelf.top / SNAPSHOTS).mkdir(exist_ok=True)

    def overloaded(self, status: int) -> Say:
        return Say(status, {"message": "The cluster is overloaded."}, {"Retry-After": "0"})

    def give_quota(self, path: str) -> None:
        """Give a directory a quota without a limit, as an administrator does."""
        with self.lock:
            inode = self._inode(path)
            assert inode
            later = time.monotonic() + self.profile.counting_seconds
            self.quotas[inode] = Quota(inode, path, NO_LIMIT, later)

    def remake(self) -> None:
        """Delete the file system, and make another one of its name and its content."""
        with self.lock:
            self.uid = secrets.token_hex(8)
            self.quotas.clear()
            self.snapshots.clear()

    def count_all(self) -> None:
        """Let everything be counted now, however long it was to take."""
        with self.lock:
            for quota in self.quotas.values():
                quota.active_at = 0.0

    def answer(self, ask: Ask) -> Say:
        with self.lock:
            path = ask.path.removeprefix("/api/v2")
            if path in ("/login", "/login/refresh"):
                return self._login(ask, path)
            token = ask.headers.get("authorization", "").removeprefix("Bearer ")
            if not self._admits(token):
                return Say(401, {"data": "Unauthorized"})
            if self.profile.password_change_required:
                return Say(403, {"message": "Password change required"})
            return self._known(ask, [part for part in path.split("/") if part])

    def _login(self, ask: Ask, path: str) -> Say:
        wanted = {"refresh_token"} if path.endswith("refresh") else {"username", "password", "org"}
        if not isinstance(ask.body, dict) or set(ask.body) != wanted:
            missing = sorted(wanted - set(ask.body or {}))
            return Say(400, {"message": "Bad request", "data": {"missing_params": missing}})
        if path.endswith("refresh"):
            if ask.body["refresh_token"] not in self._refresh:
                return Say(401, {"data": "Unauthorized"})
            self._refresh.discard(ask.body["refresh_token"])
            self.refreshes += 1
        elif (ask.body["username"], ask.body["password"]) != (USER, PASSWORD):
            self.wrong_passwords += 1
            return Say(401, {"data": "Unauthorized"})
        else:
            self.logins += 1
        access, refresh = self._new_access(self.profile.access_seconds), self._new_refresh()
        tokens = {"access_token": access, "token_type": "Bearer", "expires_in": 300}
        change = {"password_change_required": self.profile.password_change_required}
        return Say(200, {"data": {**tokens, "refresh_token": refresh, **change}})

    def _known(self, ask: Ask, parts: list[str]) -> Say:  # noqa: C901, PLR0911, PLR0912 - one for each route
        match (ask.method, *parts):
            case ("GET", "fileSystems"):
                named = ask.query.get("name", FILE_SYSTEM) == FILE_SYSTEM
                return Say(200, {"data": [self._facts()] if named else []})
            case ("GET", "cluster"):
                return Say(200, {"data": self._cluster()})
            case ("GET", "alerts") if self.profile.reads_alerts:
                return Say(200, {"data": self.profile.alerts})
            case (_, "snapshots", *_) if not self.profile.reads_snapshots:
                return Say(403, {"message": "Forbidden"})
            case ("GET", "alerts"):
                return Say(403, {"message": "Forbidden"})
            case ("GET", "snapshots"):
                return self._snapshots(ask)
            case ("POST", "snapshots"):
                return self._keep(ask.body)
            case ("DELETE", "snapshots", uid):
                return self._forget(uid)
            case ("GET", "stats", "realtime"):
                idle = dict.fromkeys(_RATES)
                return Say(
                    200,
                    {
                        "data": {"yes": [_RATES, _RATES], "some": [_RATES, idle], "no": [idle]}[
                            self.profile.sampled
                        ]
                    },
                )
            case (_, "fileSystems", uid, *_) if uid != self.uid:
                return Say(400, {"message": "FilesystemDoesNotExistException"})
            case ("GET", "fileSystems", _, "resolvePath") if self.profile.resolves:
                return self._resolve(ask.query.get("path", ""))
            case ("GET", "fileSystems", _, "quota"):
                return self._list(ask)
            case ("GET", "fileSystems", _, "quota", inode):
                return self._get(inode)
            case ("PUT", "fileSystems", _, "quota", inode):
                return self._put(inode, ask.body)
            case ("PATCH", "fileSystems", _, "quota", inode):
                return self._patch(inode, ask.body)
            case ("DELETE", "fileSystems", _, "quota", inode):
                if self.quotas.pop(inode, None) is None:
                    return self._no_quota()
                self.effects.append(f"delete quota {inode}")
                return Say(200, {"data": None})
        return Say(404, {"message": "No such route"})

    def _facts(self) -> dict[str, Any]:
        sizes = {"total_budget": 100 << 30, "used_total": 10 << 30}
        return {"uid": self.uid, "name": FILE_SYSTEM, "is_ready": True, **sizes}

    def _resolve(self, path: str) -> Say:
        inode = self._inode(path)
        if inode is None:
            return Say(400, {"message": "PATH_NOT_FOUND", "data": {"param": "path"}})
        return Say(200, {"data": {"inode_id": inode}})

    def _inode(self, path: str) -> str | None:
        """An id that stays with the directory, as an inode number does."""
        where = self.shelf.top / path.strip("/")
        if not where.is_dir():
            return None
        try:
            return os.getxattr(where, _INODE).decode()
        except OSError:
            inode = str(2**53 + secrets.randbits(62))
            os.setxattr(where, _INODE, inode.encode())
            return inode

    def _path(self, inode: str) -> str | None:
        """The path of a directory by its id, which may be its inode number."""
        pending = [self.shelf.top]
        while pending:
            here = pending.pop()
            for name in os.listdir(here):
                where = here / name
                if name == SNAPSHOTS or where.is_symlink() or not where.is_dir():
                    continue
                path = str(where.relative_to(self.shelf.top))
                if inode in (self._inode(path), str(where.stat().st_ino)):
                    return path
                pending.append(where)
        return None

    def _list(self, ask: Ask) -> Say:
        shown = [self._shown(quota) for quota in self.quotas.values()]
        if self.profile.old_lists:
            return Say(200, {"data": {f"0x{q['inode_id']}:0": q for q in shown}})
        start = int(ask.query.get("next_token", 0))
        end = start + self.profile.page
        token = {"next_token": str(end)} if end < len(shown) else {}
        return Say(200, {"data": shown[start:end], **token})

    def _get(self, inode: str) -> Say:
        quota = self.quotas.get(inode)
        return self._no_quota() if quota is None else Say(200, {"data": self._shown(quota)})

    def _no_quota(self) -> Say:
        return Say(self.profile.missing_quota_status, {"message": "Directory has no quota"})

    def _shown(self, quota: Quota) -> dict[str, Any]:
        counted = time.monotonic() >= quota.active_at
        used = self.shelf.used(quota.path) if self.shelf.exists(quota.path) else 0
        return {
            "inode_id": quota.inode,
            "total_bytes": used if counted else used // 2,
            "hard_limit_bytes": quota.limit,
            "soft_limit_bytes": quota.soft,
            "grace_seconds": quota.grace,
            "time_over_soft_limit": quota.over,
            "owner": quota.owner,
            "status": "ACTIVE" if counted else "ADDING",
            "full_path": f"/{quota.path}",
        }

    def _bad(self, body: Any) -> Say | None:
        if not isinstance(body, dict) or set(body) - _QUOTA_FIELDS:
            return Say(400, {"message": "Bad request", "data": {"error": "unknown parameter"}})
        for name in ("hard_limit_bytes", "soft_limit_bytes", "grace_seconds"):
            value = body.get(name, 0)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                return Say(400, {"message": "Bad request", "data": {"param": name}})
        return None

    def _patch(self, inode: str, body: Any) -> Say:
        if (bad := self._bad(body)) is not None:
            return bad
        quota = self.quotas.get(inode)
        if quota is None:
            return self._no_quota()
        self._set(quota, body)
        return Say(200, {"data": {**self._shown(quota), "inode_id": "0"}})  # WEKAPP-240948

    def _put(self, inode: str, body: Any) -> Say:
        if (bad := self._bad(body)) is not None:
            return bad
        name = self._path(inode)
        if name is None:
            return Say(400, {"message": "PATH_NOT_FOUND"})
        if body.get("path", f"/{name}") != f"/{name}":
            return Say(400, {"message": "Bad request", "data": {"param": "path"}})
        quota = Quota(inode, name, NO_LIMIT)
        known = self.quotas.get(inode)
        if known is not None:
            quota.active_at = known.active_at
        elif any((self.shelf.top / name).iterdir()):
            if not self.profile.data_service:
                return Say(400, {"message": "The directory is not empty"})
            quota.active_at = time.monotonic() + self.profile.counting_seconds
        else:
            self._convert(name, inode)
            self.effects.append(f"create quota {name}")
        self.quotas[inode] = quota
        self._set(quota, body)
        return Say(200, {"data": {**self._shown(quota), "inode_id": "0"}})

    def _set(self, quota: Quota, body: dict[str, Any]) -> None:
        if "hard_limit_bytes" in body:
            quota.limit = min(-(-body["hard_limit_bytes"] // GRANULE) * GRANULE, NO_LIMIT)
        if "soft_limit_bytes" in body:
            quota.soft = min(-(-body["soft_limit_bytes"] // GRANULE) * GRANULE, NO_LIMIT)
        quota.grace = body.get("grace_seconds", quota.grace)
        quota.owner = body.get("owner", quota.owner)
        self.shelf.limit(quota.path, quota.limit if 0 < quota.limit < NO_LIMIT else None)

    # -- The cluster ---------------------------------------------------------------------------
    def _cluster(self) -> dict[str, Any]:
        full = {"active": 6, "total": 6}
        hosts = {"backends": full, "clients": {"active": 2, "total": 2}, "total_count": 8}
        return {
            "status": self.profile.status,
            "io_status": self.profile.io_status,
            "release": "4.4.1" if self.profile.resolves else "4.1.0.71",
            "hosts": {**hosts, "active_count": 8},
            "drives": {"active": 6 - self.profile.lost_drives, "total": 6},
            "io_nodes": {"active": 18, "total": 18},
            "active_alerts_count": len(self.profile.alerts),
        }

    # -- Snapshots -----------------------------------------------------------------------------
    def _snapshots(self, ask: Ask) -> Say:
        if extra := set(ask.query) - {"name", "access_point"}:
            return Say(400, {"message": "Bad request", "data": {"param": min(extra)}})
        now = time.monotonic()
        self.snapshots = {u: s for u, s in self.snapshots.items() if s["gone_at"] > now}
        wanted = ask.query.get("name")
        found = [s for s in self.snapshots.values() if wanted in (None, s["name"])]
        return Say(200, {"data": [self._shown_snapshot(one) for one in found]})

    def _shown_snapshot(self, one: dict[str, Any]) -> dict[str, Any]:
        removing = one["gone_at"] != float("inf")
        shown = {name: value for name, value in one.items() if name != "gone_at"}
        return {**shown, "isRemoving": removing, "isWritable": False, "type": "USER"}

    def _keep(self, body: Any) -> Say:
        if not isinstance(body, dict) or set(body) - _SNAPSHOT_FIELDS:
            return Say(400, {"message": "Bad request", "data": {"error": "unknown parameter"}})
        if missing := {"fs_uid", "name"} - set(body):
            return Say(400, {"message": "Bad request", "data": {"missing_params": sorted(missing)}})
        if body["fs_uid"] != self.uid:
            return Say(400, {"message": "FilesystemDoesNotExistException"})
        name, point = body["name"], body["access_point"]
        if not 0 < len(name) <= NAME_MAX or set(name + point) & set("/:\n"):
            return Say(400, {"message": "Bad request", "data": {"param": "name"}})
        if any(name == s["name"] or point == s["accessPoint"] for s in self.snapshots.values()):
            return Say(400, {"message": "SnapshotAlreadyExistsException"})
        self.shelf.keep("", SNAPSHOTS, point)
        self._count += 1
        uid = secrets.token_hex(8)
        self.snapshots[uid] = {
            "uid": uid,
            "id": str(self._count),
            "name": name,
            "accessPoint": point,
            "fileSystemUid": self.uid,
            "filesystem": FILE_SYSTEM,
            "creationTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "gone_at": float("inf"),
        }
        self.effects.append(f"create snapshot {name}")
        return Say(200, {"data": self._shown_snapshot(self.snapshots[uid])})

    def _forget(self, uid: str) -> Say:
        found = self.snapshots.get(uid)
        if found is None or found["gone_at"] != float("inf"):
            return Say(400, {"message": "SnapshotDoesNotExistException"})
        self.shelf.discard(f"{SNAPSHOTS}/{found['accessPoint']}")
        found["gone_at"] = time.monotonic() + self.profile.removing_seconds
        return Say(200, {"data": None})

    def _convert(self, name: str, inode: str) -> None:
        if isinstance(self.shelf, BtrfsShelf):
            self.shelf.convert(name)
            os.setxattr(self.shelf.top / name, _INODE, inode.encode())


_RATES = {
    "reads_per_second": 100,
    "writes_per_second": 50,
    "read_bytes_per_second": 1 << 20,
    "write_bytes_per_second": 1 << 19,
    "read_latency_usecs": 200,
    "write_latency_usecs": 300,
}
