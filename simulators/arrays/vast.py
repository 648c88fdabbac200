"""VAST: the management system of a cluster with its tenant's quotas on paths.

Written from VAST's REST reference. A void token is answered 403, not 401; lists are bare without
`page_size` and in pages with it; refusals are plain text, `detail`, or lists by field; paths end in
a slash, or the caller is sent away.
"""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from simulators.serving import Ask, Say, Simulator
from simulators.shelf import BtrfsShelf, Shelf

USER, PASSWORD, API_TOKEN = "vfolder", "sw0rdfish/vast", "t0ken-of-vast"
_TEXT = {"Content-Type": "text/plain"}
_QUOTA_FIELDS = {"name", "path", "create_dir", "hard_limit", "soft_limit", "tenant_id"}


def options(url: str) -> dict[str, Any]:
    """Return the options of a backend that speaks with it."""
    return {
        "vast_endpoint": url,
        "vast_username": USER,
        "vast_password": PASSWORD,
    }


@dataclass
class Profile:
    """What differs between releases and days."""

    page_max: int = 100
    sync_seconds: float = 0.0
    #: Changes are tasks.
    tasks: bool = False
    stat_path: bool = True
    state: str = "ONLINE"
    access_seconds: float = 3600.0
    permitted: bool = True


@dataclass
class VastSim(Simulator):
    """The cluster; `shelf` is its root."""

    shelf: Shelf
    profile: Profile = field(default_factory=Profile)
    quotas: dict[int, dict[str, Any]] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    logins: int = 0
    refreshes: int = 0
    wrong_passwords: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._access: dict[str, float] = {}
        self._refresh: set[str] = set()
        self._tasks: dict[int, int] = {}
        self._number = 2**40

    def overloaded(self, status: int) -> Say:
        return Say(status, b"The system is overloaded", {**_TEXT, "Retry-After": "0"})

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
                quota["synced_at"] = 0.0

    def answer(self, ask: Ask) -> Say:
        with self.lock:
            if not ask.path.endswith("/"):
                if ask.method == "GET":
                    return Say(301, None, {"Location": f"{ask.path}/"})
                return Say(404, {"detail": "Not found."})
            if ask.path in ("/api/token/", "/api/token/refresh/"):
                return self._login(ask)
            if (no := self._stranger(ask)) is not None:
                return no
            parts = [part for part in ask.path.split("/") if part]
            if parts[:2] not in (["api", "v2"], ["api", "latest"]):
                return Say(404, {"detail": "Not found."})
            return self._known(ask, parts[2:])

    def _login(self, ask: Ask) -> Say:
        body = ask.body if isinstance(ask.body, dict) else {}
        refreshing = ask.path.endswith("/refresh/")
        wanted = {"refresh"} if refreshing else {"username", "password"}
        if set(body) != wanted:
            return Say(400, {name: ["This field is required."] for name in sorted(wanted)})
        access = secrets.token_hex(32)
        if refreshing:
            if body["refresh"] not in self._refresh:
                return Say(401, {"detail": "Token is invalid or expired"})
            self.refreshes += 1
        elif (body["username"], body["password"]) != (USER, PASSWORD):
            self.wrong_passwords += 1
            return Say(401, {"detail": "No active account found with the given credentials"})
        else:
            self.logins += 1
        self._access[access] = time.monotonic() + self.profile.access_seconds
        if refreshing:
            return Say(200, {"access": access})
        refresh = secrets.token_hex(32)
        self._refresh.add(refresh)
        return Say(200, {"access": access, "refresh": refresh})

    def _stranger(self, ask: Ask) -> Say | None:
        kind, _, token = ask.headers.get("authorization", "").partition(" ")
        good = kind == "Api-Token" and token == API_TOKEN
        good = good or (kind == "Bearer" and self._access.get(token, 0) > time.monotonic())
        if not good:
            detail = "Given token not valid for any token type"
            return Say(403, {"detail": detail, "code": "token_not_valid"})
        if not self.profile.permitted:
            return Say(403, {"detail": "You do not have permission to perform this action."})
        return None

    def _known(self, ask: Ask, parts: list[str]) -> Say:  # noqa: PLR0911 - one for each route
        match (ask.method, *parts):
            case ("GET", "clusters", "1"):
                return Say(200, {"id": 1, "state": self.profile.state, **_CLUSTER})
            case ("POST", "folders", "stat_path") if self.profile.stat_path:
                if self.shelf.exists(ask.body["path"].strip("/")):
                    return Say(200, {"owning_user": "root", "is_directory": True})
                return Say(400, b"no such directory", _TEXT)
            case ("GET", "quotas"):
                return self._list(ask)
            case ("POST", "quotas"):
                return self._make(ask.body)
            case ("GET", "vtasks", number):
                self._tasks[int(number)] -= 1
                done = self._tasks[int(number)] <= 0
                state = "COMPLETED" if done else "RUNNING"
                return Say(200, {"id": int(number), "state": state, "messages": []})
            case (_, "quotas", number) if int(number) not in self.quotas:
                return Say(404, {"detail": "Not found."})
            case ("PATCH", "quotas", number):
                return self._change(int(number), ask.body)
            case ("DELETE", "quotas", number):
                gone = self.quotas.pop(int(number))
                self.effects.append(f"delete quota {gone['path']}")
                return Say(204) if not self.profile.tasks else self._task(200)
        return Say(404, {"detail": "Not found."})

    def _list(self, ask: Ask) -> Say:
        if extra := set(ask.query) - {"path", "tenant_id", "page_size", "page", "path__startswith"}:
            return Say(400, {name: ["Unknown filter."] for name in extra})
        path = ask.query.get("path")
        found = [self._shown(q) for q in self.quotas.values() if path in (None, q["path"])]
        if "page_size" not in ask.query:
            return Say(200, found)
        size, page = min(int(ask.query["page_size"]), self.profile.page_max), 1
        page = int(ask.query.get("page", 1))
        rest = page * size < len(found)
        query = f"page={page + 1}&page_size={size}" + (f"&path={path}" if path else "")
        link = f"https://vms.example/api/v2/quotas/?{query}" if rest else None
        shown = found[(page - 1) * size : page * size]
        return Say(200, {"results": shown, "count": len(found), "next": link, "previous": None})

    def _shown(self, quota: dict[str, Any]) -> dict[str, Any]:
        counted = time.monotonic() >= quota["synced_at"]
        name = quota["path"].strip("/")
        used = self.shelf.used(name) if counted and self.shelf.exists(name) else 0
        shown = {k: v for k, v in quota.items() if k != "synced_at"}
        sync = "SYNCHRONIZED" if counted else "SYNCHRONIZING"
        return {**shown, "state": "OK", "sync_state": sync, "used_effective_capacity": used}

    def _make(self, body: Any) -> Say:
        if not isinstance(body, dict) or (extra := set(body) - _QUOTA_FIELDS):
            return Say(400, {name: ["Unexpected field."] for name in extra})
        limit, path, name = body.get("hard_limit"), body["path"], body["path"].strip("/")
        if limit is not None and (not isinstance(limit, int) or limit <= 0):
            return Say(400, {"hard_limit": ["A valid integer is required."]})
        if any(quota["path"] == path for quota in self.quotas.values()):
            return Say(400, f"Quota on path {path} already exists".encode(), _TEXT)
        if not self.shelf.exists(name):
            if not body.get("create_dir"):
                return Say(400, {"path": ["The directory does not exist."]})
            self.shelf.make(name, 0o755, 0, 0)
        held = any((self.shelf.top / name).iterdir())
        if not held and isinstance(self.shelf, BtrfsShelf):
            self.shelf.convert(name)
        self._number += 1
        later = time.monotonic() + (self.profile.sync_seconds if held else 0.0)
        facts = {"name": body["name"], "path": path, "hard_limit": limit, "synced_at": later}
        self.quotas[self._number] = {"id": self._number, "tenant_id": 1, **facts}
        self.effects.append(f"create quota {path}")
        self.shelf.limit(name, limit)
        if self.profile.tasks:
            return self._task(202)
        return Say(201, self._shown(self.quotas[self._number]))

    def _change(self, number: int, body: Any) -> Say:
        if set(body) != {"hard_limit"}:
            return Say(400, {"body": ["Unexpected field."]})
        limit = body["hard_limit"]
        if limit is not None and (not isinstance(limit, int) or limit <= 0):
            return Say(400, {"hard_limit": ["A valid integer is required."]})
        quota = self.quotas[number]
        quota["hard_limit"] = limit
        self.shelf.limit(quota["path"].strip("/"), limit)
        return self._task(202) if self.profile.tasks else Say(200, self._shown(quota))

    def _task(self, status: int) -> Say:
        number = len(self._tasks) + 1
        self._tasks[number] = 2
        return Say(status, {"async_task": {"id": number}})


_CLUSTER = {
    "usable_capacity_bytes": 100 << 30,
    "physical_space": 120 << 30,
    "physical_space_in_use": 10 << 30,
    "rd_iops": 100,
    "wr_iops": 50,
    "rd_bw": 1 << 20,
    "wr_bw": 1 << 19,
    "rd_latency": 200,
    "wr_latency": 300,
}
