"""WEKA: a cluster with one file system, its directory quotas and its logins.

Written from WEKA's REST reference. Access tokens live 300 seconds and are renewed by a refresh
token that changes with each use; quotas belong to inodes, whose ids pass 2^53 and come as strings.
What is in a directory that gets a quota is counted in the background, if data services run.
"""

import os
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.serving import Ask, Say, Simulator
from tests.fakes.shelf import BtrfsShelf, Shelf

USER, PASSWORD, FILE_SYSTEM = "vfolder", "sw0rdfish/weka", "research"
GRANULE = 4096
NO_LIMIT = 2**63 - 1
_INODE = "user.inode"


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
    data_service: bool = True
    counting_seconds: float = 0.0
    missing_quota_status: int = 404
    password_change_required: bool = False
    status: str = "OK"
    access_seconds: float = 300.0


@dataclass
class Quota:
    """The quota of an inode."""

    inode: str
    path: str
    limit: int
    active_at: float = 0.0


@dataclass
class WekaSim(Simulator):
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
        self._access: dict[str, float] = {}
        self._refresh: set[str] = set()

    def overloaded(self, status: int) -> Say:
        return Say(status, {"message": "The cluster is overloaded."}, {"Retry-After": "0"})

    @property
    def tokens(self) -> list[str]:
        """Every token that was given."""
        return [*self._access, *self._refresh]

    def expire(self) -> None:
        with self.lock:
            self._access.clear()

    def forget_refreshes(self) -> None:
        with self.lock:
            self._refresh.clear()

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
            if self._access.get(token, 0) < time.monotonic():
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
        access, refresh = secrets.token_hex(32), secrets.token_hex(32)
        self._access[access] = time.monotonic() + self.profile.access_seconds
        self._refresh.add(refresh)
        tokens = {"access_token": access, "token_type": "Bearer", "expires_in": 300}
        change = {"password_change_required": self.profile.password_change_required}
        return Say(200, {"data": {**tokens, "refresh_token": refresh, **change}})

    def _known(self, ask: Ask, parts: list[str]) -> Say:  # noqa: C901, PLR0911 - one for each route
        match (ask.method, *parts):
            case ("GET", "fileSystems"):
                named = ask.query.get("name", FILE_SYSTEM) == FILE_SYSTEM
                return Say(200, {"data": [self._facts()] if named else []})
            case ("GET", "cluster"):
                return Say(200, {"data": {"status": self.profile.status, "release": "4.4.1"}})
            case ("GET", "stats", "realtime"):
                return Say(200, {"data": [_RATES, _RATES]})
            case (_, "fileSystems", uid, *_) if uid != self.uid:
                return Say(400, {"message": "FilesystemDoesNotExistException"})
            case ("GET", "fileSystems", _, "resolvePath"):
                return self._resolve(ask.query.get("path", ""))
            case ("GET", "fileSystems", _, "quota"):
                return self._list(ask)
            case ("GET", "fileSystems", _, "quota", inode):
                return self._get(inode)
            case ("PUT", "fileSystems", _, "quota", inode):
                return self._put(inode, ask.body)
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
        for name in os.listdir(self.shelf.top):
            if (self.shelf.top / name).is_dir() and self._inode(name) == inode:
                return name
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
            "status": "ACTIVE" if counted else "ADDING",
            "full_path": f"/{quota.path}",
        }

    def _put(self, inode: str, body: Any) -> Say:
        if not isinstance(body, dict) or set(body) - {"hard_limit_bytes", "path"}:
            return Say(400, {"message": "Bad request", "data": {"error": "unknown parameter"}})
        limit = body.get("hard_limit_bytes")
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            return Say(400, {"message": "Bad request", "data": {"param": "hard_limit_bytes"}})
        name = self._path(inode)
        if name is None:
            return Say(400, {"message": "PATH_NOT_FOUND"})
        limit = min(-(-limit // GRANULE) * GRANULE, NO_LIMIT)
        known = self.quotas.get(inode)
        if known is not None:
            known.limit = limit
        elif any((self.shelf.top / name).iterdir()):
            if not self.profile.data_service:
                return Say(400, {"message": "The directory is not empty"})
            later = time.monotonic() + self.profile.counting_seconds
            self.quotas[inode] = Quota(inode, name, limit, later)
        else:
            self._convert(name, inode)
            self.quotas[inode] = Quota(inode, name, limit)
            self.effects.append(f"create quota {name}")
        self.shelf.limit(name, limit if 0 < limit < NO_LIMIT else None)
        wrong = {**self._shown(self.quotas[inode]), "inode_id": "0"}  # WEKAPP-240948
        return Say(200, {"data": wrong})

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
