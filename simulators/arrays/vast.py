"""VAST: the management system of a cluster with its tenant's quotas on paths.

Written from VAST's REST reference. A void token is answered 403, not 401; lists are bare without
`page_size` and in pages with it; refusals are plain text, `detail`, or lists by field; paths end in
a slash, or the caller is sent away. A snapshot is one of a directory, and shown in `.snapshot` in
it; the trash folder takes a tree at once. Two tenants may have quotas on one path.
"""

import shutil
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from simulators.arrays.tokens import TokenSimulator
from simulators.serving import Ask, Say
from simulators.shelf import BtrfsShelf, Shelf

USER, PASSWORD, API_TOKEN = "vfolder", "sw0rdfish/vast", "t0ken-of-vast"
_TEXT = {"Content-Type": "text/plain"}
SNAPSHOTS = ".snapshot"
TENANT, OTHER_TENANT = "research", "other"
_LIMITS = {"hard_limit", "soft_limit", "hard_limit_inodes", "soft_limit_inodes"}
_QUOTA_FIELDS = {"name", "path", "create_dir", "tenant_id", "grace_period"} | _LIMITS
_CLONE_FIELDS = {"loanee_root_path", "name", "enabled", "loanee_tenant_id"}
_SNAPSHOT_FIELDS = {"name", "path", "tenant_id", "expiration_time"}
_FILTERS = {
    "quotas": {"path", "tenant_id", "path__startswith", "path__contains"},
    "snapshots": {"name", "path", "tenant_id", "path__contains"},
    "tenants": {"name"},
    "globalsnapstreams": {"name", "loanee_root_path"},
}


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
    #: The cluster has a sample of its rates.
    sampled: bool = True
    #: What a stream is after so many looks at it.
    clone_state: str = "Completed"
    clone_looks: int = 1
    clones: bool = True
    #: The trash folder may be used.
    trash: bool = True
    #: The user may read and make snapshots, and the view shows them.
    reads_snapshots: bool = True
    shows_snapshots: bool = True
    #: The user belongs to this tenant, and logs in with its name only.
    user_of: str = ""


@dataclass
class VastSim(TokenSimulator):
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
        self._tasks: dict[int, int] = {}
        self._number = 2**40
        self.snapshots: dict[int, dict[str, Any]] = {}
        self.tenants = {1: TENANT, 2: OTHER_TENANT}
        self.trashed: list[str] = []
        self.streams: dict[int, dict[str, Any]] = {}

    def overloaded(self, status: int) -> Say:
        return Say(status, b"The system is overloaded", {**_TEXT, "Retry-After": "0"})

    def count_all(self) -> None:
        """Let everything be counted now, however long it was to take."""
        with self.lock:
            for quota in self.quotas.values():
                quota["synced_at"] = 0.0

    def answer(self, ask: Ask) -> Say:  # noqa: PLR0911 - one for each kind of caller
        with self.lock:
            if not ask.path.endswith("/"):
                if ask.method == "GET":
                    return Say(301, None, {"Location": f"{ask.path}/"})
                return Say(404, {"detail": "Not found."})
            name, known = ask.headers.get("x-tenant-name", ""), self.tenants.values()
            if ask.path in ("/api/token/", "/api/token/refresh/"):
                if name != (self.profile.user_of or name) or (name and name not in known):
                    return Say(401, {"detail": "No active account found"})
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
        if refreshing:
            if body["refresh"] not in self._refresh:
                return Say(401, {"detail": "Token is invalid or expired"})
            self.refreshes += 1
        elif (body["username"], body["password"]) != (USER, PASSWORD):
            self.wrong_passwords += 1
            return Say(401, {"detail": "No active account found with the given credentials"})
        else:
            self.logins += 1
        access = self._new_access(self.profile.access_seconds)
        if refreshing:
            return Say(200, {"access": access})
        return Say(200, {"access": access, "refresh": self._new_refresh()})

    def _stranger(self, ask: Ask) -> Say | None:
        kind, _, token = ask.headers.get("authorization", "").partition(" ")
        good = kind == "Api-Token" and token == API_TOKEN
        good = good or (kind == "Bearer" and self._admits(token))
        if not good:
            detail = "Given token not valid for any token type"
            return Say(403, {"detail": detail, "code": "token_not_valid"})
        if not self.profile.permitted:
            return Say(403, {"detail": "You do not have permission to perform this action."})
        return None

    def _known(self, ask: Ask, parts: list[str]) -> Say:  # noqa: C901, PLR0911 - one for each route
        match (ask.method, *parts):
            case ("GET", "clusters", "1"):
                rates = dict.fromkeys(_RATES) if not self.profile.sampled else _RATES
                return Say(200, {"id": 1, "state": self.profile.state, **_CLUSTER, **rates})
            case (_, "folders", what):
                return self._folder(ask, what)
            case ("GET", "tenants"):
                return self._list(ask, [{"id": n, "name": one} for n, one in self.tenants.items()])
            case ("GET", "quotas"):
                return self._list(ask, [self._shown(quota) for quota in self.quotas.values()])
            case ("POST", "quotas"):
                return self._make(ask.body)
            case (_, "snapshots", *rest):
                return self._snapshot(ask, rest)
            case (_, "globalsnapstreams", *rest):
                return self._stream(ask, rest)
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

    def _list(self, ask: Ask, rows: list[dict[str, Any]]) -> Say:
        kind = ask.path.rstrip("/").rpartition("/")[2]
        if extra := set(ask.query) - {"page_size", "page"} - _FILTERS[kind]:
            return Say(400, {name: ["Unknown filter."] for name in extra})
        given = {k: v for k, v in ask.query.items() if k not in ("page_size", "page")}
        found = [row for row in rows if all(_matches(row, k, v) for k, v in given.items())]
        if "page_size" not in ask.query:
            return Say(200, found)
        size, page = min(int(ask.query["page_size"]), self.profile.page_max), 1
        page = int(ask.query.get("page", 1))
        rest = page * size < len(found)
        more = {**given, "page": page + 1, "page_size": size}
        link = f"https://vms.example{ask.path}?{urlencode(more)}" if rest else None
        shown = found[(page - 1) * size : page * size]
        return Say(200, {"results": shown, "count": len(found), "next": link, "previous": None})

    # -- Folders -------------------------------------------------------------------------------
    def _folder(self, ask: Ask, what: str) -> Say:  # noqa: PLR0911 - one for each answer
        body = ask.body
        if not isinstance(body, dict) or set(body) - {"path", "tenant_id"}:
            return Say(400, {"path": ["This field is required."]})
        ours = body.get("tenant_id", 1) == 1
        name = body["path"].strip("/")
        match ask.method, what:
            case "POST", "stat_path" if self.profile.stat_path:
                if ours and self.shelf.exists(name):
                    return Say(200, {"owning_user": "root", "is_directory": True})
                return Say(400, b"no such directory", _TEXT)
            case "DELETE", "delete_folder" if self.profile.stat_path:  # both came with 4.7
                if not self.profile.trash:
                    return Say(400, b"trash folder disabled", _TEXT)
                if not ours or not self.shelf.exists(name):
                    return Say(400, b"no such directory", _TEXT)
                shutil.rmtree(self.shelf.top / name)
                self.trashed.append(name)
                return Say(204) if not self.profile.tasks else self._task(200)
        return Say(404, {"detail": "Not found."})

    # -- Quotas --------------------------------------------------------------------------------
    def _shown(self, quota: dict[str, Any]) -> dict[str, Any]:
        counted = time.monotonic() >= quota["synced_at"]
        name = quota["path"].strip("/")
        known = counted and quota["tenant_id"] == 1 and self.shelf.exists(name)
        used = self.shelf.used(name) if known else 0
        below = (self.shelf.top / name).rglob("*") if known else []
        inodes = sum(SNAPSHOTS not in entry.parts for entry in below)
        shown = {k: v for k, v in quota.items() if k != "synced_at"}
        sync = "SYNCHRONIZED" if counted else "SYNCHRONIZING"
        shown |= {"used_effective_capacity": used, "used_inodes": inodes, "sync_state": sync}
        return {**shown, "state": self._state(shown)}

    def _state(self, shown: dict[str, Any]) -> str:
        used, inodes = shown["used_effective_capacity"], shown["used_inodes"]
        if used >= (shown["hard_limit"] or 2**64) or inodes >= (
            shown["hard_limit_inodes"] or 2**64
        ):
            return "HARD_EXCEEDED"
        return "SOFT_EXCEEDED" if used >= (shown["soft_limit"] or 2**64) else "OK"

    def _bad(self, body: dict[str, Any], before: dict[str, Any]) -> Say | None:
        for name in _LIMITS & set(body):
            limit = body[name]
            if limit is not None and (type(limit) is not int or limit <= 0):
                return Say(400, {name: ["A valid integer is required."]})
        now = {**before, **body}
        for kind in ("", "_inodes"):
            soft, hard = now.get(f"soft_limit{kind}"), now.get(f"hard_limit{kind}")
            if soft and hard and soft > hard:
                return Say(400, b"Soft limit must not exceed hard limit", _TEXT)
        return None

    def _make(self, body: Any) -> Say:
        if not isinstance(body, dict) or (extra := set(body) - _QUOTA_FIELDS):
            return Say(400, {name: ["Unexpected field."] for name in extra})
        if (bad := self._bad(body, {})) is not None:
            return bad
        path, name, tenant = body["path"], body["path"].strip("/"), body.get("tenant_id", 1)
        if any((quota["path"], quota["tenant_id"]) == (path, tenant) for quota in self._all()):
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
        limits = {kind: body.get(kind) for kind in _LIMITS}
        facts = {"name": body["name"], "path": path, **limits, "synced_at": later}
        self.quotas[self._number] = {"id": self._number, "tenant_id": tenant, **facts}
        self.effects.append(f"create quota {path}")
        self.shelf.limit(name, limits["hard_limit"])
        if self.profile.tasks:
            return self._task(202)
        return Say(201, self._shown(self.quotas[self._number]))

    def _all(self) -> list[dict[str, Any]]:
        return list(self.quotas.values())

    def _change(self, number: int, body: Any) -> Say:
        if not isinstance(body, dict) or not body or set(body) - _LIMITS:
            return Say(400, {"body": ["Unexpected field."]})
        quota = self.quotas[number]
        if (bad := self._bad(body, quota)) is not None:
            return bad
        quota |= body
        self.shelf.limit(quota["path"].strip("/"), quota["hard_limit"])
        return self._task(202) if self.profile.tasks else Say(200, self._shown(quota))

    # -- Snapshots -----------------------------------------------------------------------------
    def _snapshot(self, ask: Ask, rest: list[str]) -> Say:  # noqa: PLR0911 - one for each route
        if not self.profile.reads_snapshots:
            return Say(403, {"detail": "You do not have permission to perform this action."})
        if ask.method == "GET" and not rest:
            return self._list(ask, list(self.snapshots.values()))
        if ask.method == "POST" and not rest:
            return self._keep(ask.body)
        if not rest or int(rest[0]) not in self.snapshots:
            return Say(404, {"detail": "Not found."})
        if ask.method == "POST" and rest[1:] == ["clone"] and self.profile.clones:
            return self._clone(self.snapshots[int(rest[0])], ask.body)
        if ask.method == "DELETE" and len(rest) == 1:
            if any(s["looks"] > 0 for s in self.streams.values() if s["of"] == int(rest[0])):
                return Say(400, b"Snapshot is used by a global snapshot clone", _TEXT)
            gone = self.snapshots.pop(int(rest[0]))
            if self.profile.shows_snapshots:
                self.shelf.forget(SNAPSHOTS, gone["name"])
            return Say(204) if not self.profile.tasks else self._task(200)
        return Say(404, {"detail": "Not found."})

    def _keep(self, body: Any) -> Say:
        if not isinstance(body, dict) or (extra := set(body) - _SNAPSHOT_FIELDS):
            return Say(400, {name: ["Unexpected field."] for name in extra})
        name, path, tenant = body["name"], body["path"], body.get("tenant_id", 1)
        if not path.endswith("/"):
            return Say(400, {"path": ["The path must end with a slash."]})
        if not self.shelf.exists(path.strip("/")):
            return Say(400, b"no such directory", _TEXT)
        if any(
            (one["name"], one["tenant_id"]) == (name, tenant) for one in self.snapshots.values()
        ):
            return Say(400, f"Snapshot {name} already exists".encode(), _TEXT)
        self._number += 1
        made = {"id": self._number, "name": name, "path": path, "tenant_id": tenant}
        self.snapshots[self._number] = {**made, "created": datetime.now(UTC).isoformat()}
        if self.profile.shows_snapshots:
            self.shelf.keep(path.strip("/"), SNAPSHOTS, name)
        self.effects.append(f"create snapshot {name}")
        if self.profile.tasks:
            return self._task(202)
        return Say(201, self.snapshots[self._number])

    # -- Clones --------------------------------------------------------------------------------
    def _clone(self, snapshot: dict[str, Any], body: Any) -> Say:
        if not isinstance(body, dict) or (extra := set(body) ^ _CLONE_FIELDS):
            return Say(400, {name: ["Missing or unexpected field."] for name in extra})
        target, source = body["loanee_root_path"].strip("/"), snapshot["path"].strip("/")
        if self.shelf.exists(target):
            return Say(400, f"Path /{target} already exists".encode(), _TEXT)
        if any(one["name"] == body["name"] for one in self.streams.values()):
            return Say(400, f"Stream {body['name']} already exists".encode(), _TEXT)
        kept = self.shelf.top / source / SNAPSHOTS / snapshot["name"]
        copy = ["cp", "-a", "--reflink=auto", kept, self.shelf.top / target]
        subprocess.run(copy, check=True, capture_output=True)
        self._number += 1
        facts = {"of": snapshot["id"], "looks": self.profile.clone_looks}
        self.streams[self._number] = {"id": self._number, **body, **facts}
        self.effects.append(f"clone {target}")
        if self.profile.tasks:
            return self._task(202)
        return Say(201, self._shown_stream(self.streams[self._number]))

    def _shown_stream(self, stream: dict[str, Any]) -> dict[str, Any]:
        state = self.profile.clone_state if stream["looks"] <= 0 else "Syncing"
        stream["looks"] -= 1
        shown = {name: value for name, value in stream.items() if name not in ("of", "looks")}
        return {**shown, "status": {"state": state, "progress": 0}}

    def _stream(self, ask: Ask, rest: list[str]) -> Say:  # noqa: PLR0911 - one for each answer
        if ask.method == "GET" and not rest:
            return self._list(ask, [self._shown_stream(one) for one in self.streams.values()])
        found = self.streams.get(int(rest[0])) if rest else None
        if found is None:
            return Say(404, {"detail": "Not found."})
        match (ask.method, *rest[1:]):
            case ("PATCH", "stop"):
                found["looks"] = 0
                return self._task(202) if self.profile.tasks else Say(200, {})
            case ("DELETE",) if isinstance(ask.body, dict) and set(ask.body) == {"remove_dir"}:
                if found["looks"] > 0:
                    return Say(400, b"The stream is active", _TEXT)
                if ask.body["remove_dir"]:
                    name = found["loanee_root_path"].strip("/")
                    if not self.shelf.exists(name):
                        return Say(400, b"no such directory", _TEXT)
                    shutil.rmtree(self.shelf.top / name)
                del self.streams[found["id"]]
                return self._task(202) if self.profile.tasks else Say(204)
        return Say(404, {"detail": "Not found."})

    def _task(self, status: int) -> Say:
        number = len(self._tasks) + 1
        self._tasks[number] = 2
        return Say(status, {"async_task": {"id": number}})


_CLUSTER = {
    "usable_capacity_bytes": 100 << 30,
    "physical_space": 120 << 30,
    "physical_space_in_use": 10 << 30,
}
_RATES = {
    "rd_iops": 100,
    "wr_iops": 50,
    "rd_bw": 1 << 20,
    "wr_bw": 1 << 19,
    "rd_latency": 200,
    "wr_latency": 300,
}


def _matches(row: dict[str, Any], name: str, wanted: str) -> bool:
    """Whether a row fits to a filter, as Django's lookups do it."""
    field_name, _, lookup = name.partition("__")
    value = str(row[field_name])
    if lookup == "startswith":
        return value.startswith(wanted)
    return wanted in value if lookup == "contains" else value == wanted
