"""Hammerspace: an Anvil with its shares, tasks, snapshots and sessions.

Written from the vendor's own clients (CSI driver, Python SDK, Ansible examples). A login is a form
and gives a cookie; a void one is answered 401 or 403. Changes are tasks, whose link names another
host. A PUT replaces the whole object: what it leaves out is lost. Numbers of bytes are strings. A
missing file is a 500.
"""

import random
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote
from uuid import uuid4

from simulators.serving import Ask, Say, Simulator
from simulators.shelf import BtrfsShelf, Shelf

USER, PASSWORD = "vfolder", "sw0rdfish/hammerspace"
BASE = "/mgmt/v1.2/rest"
#: The links of tasks name the floating address of the management, which clients may not reach.
OTHER_HOST = "https://anvil-vip.example:8443"
_FORM = "application/x-www-form-urlencoded"
#: Where a share shows its snapshots.
SNAPSHOTS = ".snapshot"
_NAME_MAX, _FORBIDDEN = 80, '"/\\[]:|<>+;,?*='
_NEW = {"name", "path", "comment", "extendedInfo", "shareSizeLimit", "exportOptions"}
_NEW |= {"shareObjectives", "warnUtilizationPercentThreshold"}
_EXPORT = {"subnet", "accessPermissions", "rootSquash"}
_TEXT = {"Content-Type": "text/plain"}
_TOTAL = 64393052160
#: How a task can end: its state, whether it had its effect, whether it is remembered.
ENDS = {
    "completed": ("COMPLETED", True, True),
    "failed": ("FAILED", False, True),
    "invalid": ("VALIDATION_FAILED", False, True),
    "cancelled": ("CANCELLED", False, True),
    "halted": ("HALTED", False, True),
    "failed, done": ("FAILED", True, True),
    "halted, done": ("HALTED", True, True),
    "resumed, done": ("RESUMED", True, True),
    "forgotten, done": ("COMPLETED", True, False),
}
_BY_CHANCE = [end for end, (_, effect, _) in ENDS.items() if effect and end != "completed"]


def options(url: str) -> dict[str, Any]:
    """Return the options of a backend that speaks with it."""
    return {"address": url, "username": USER, "password": PASSWORD}


@dataclass
class Profile:
    """What differs between releases and days."""

    #: 401 or 403: the answer to a session that is void.
    expired_status: int = 401
    task_seconds: float = 0.01
    #: A new directory is visible on the mount only after this time.
    visible_seconds: float = 0.0
    permitted: bool = True
    #: The name of a new snapshot comes as JSON, or as the bare text of older releases.
    bare_names: bool = False
    #: No limit is written so.
    no_limit: str | None = None
    #: The path of what is mounted.
    mounted: str = ""
    node_state: str = "MANAGED"
    volume_state: str = "UP"


@dataclass
class SimTask:
    """A task, and what it will do."""

    uuid: str
    action: str
    name: str
    due: float
    end: str
    effect: Callable[[], None]
    state: str = "EXECUTING"
    remembered: bool = True

    def shown(self) -> dict[str, Any]:
        """Return it as the interface does."""
        words = "Status: 500, Output: out of luck" if self.state == "FAILED" else self.state
        facts = {"uuid": self.uuid, "name": self.action, "status": self.state}
        return {**facts, "statusMessage": words, "paramsMap": {"name": self.name}}


@dataclass
class HammerspaceSim(Simulator):
    """The cluster; `shelf` is the share that is mounted."""

    shelf: Shelf
    profile: Profile = field(default_factory=Profile)
    seed: int = 0
    chance_of_task_fault: float = 0.0
    shares: dict[str, dict[str, Any]] = field(default_factory=dict)
    snapshots: dict[str, dict[str, float]] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    logins: int = 0
    wrong_passwords: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._sessions: set[str] = set()
        self._tasks: dict[str, SimTask] = {}
        self._ends: list[str] = []
        self._random = random.Random(self.seed)
        root = {"name": "root", "path": "/", "shareSizeLimit": None, "exportOptions": [_EVERYONE]}
        self._add(root, "PUBLISHED")

    @property
    def quotas(self) -> dict[str, dict[str, Any]]:
        """The shares of directories on the mount."""
        return {k: v for k, v in self.shares.items() if v["path"] != "/" and _lives(v)}

    def share(self, name: str) -> dict[str, Any]:
        """The share of this name."""
        found = self._share(name)
        assert found is not None
        return found

    def next_task(self, end: str) -> None:
        """Let the next task end so."""
        with self.lock:
            self._ends.append(end)

    def add(self, name: str, path: str, **facts: Any) -> None:
        """A share that an administrator made."""
        with self.lock:
            self._add({"name": name, "path": path, "exportOptions": [], **facts}, "PUBLISHED")

    def overloaded(self, status: int) -> Say:
        return Say(status, {"message": "The Anvil is overloaded."}, {"Retry-After": "0"})

    @property
    def tokens(self) -> list[str]:
        """Every session."""
        return list(self._sessions)

    def expire(self) -> None:
        with self.lock:
            self._sessions.clear()

    def answer(self, ask: Ask) -> Say:
        with self.lock:
            self._advance()
            if not ask.path.startswith(f"{BASE}/"):
                return Say(404, b"<html>nothing here</html>", {"Content-Type": "text/html"})
            parts = [unquote(part) for part in ask.path.removeprefix(BASE).split("/") if part]
            if parts == ["login"]:
                return self._login(ask)
            cookies = dict(c.strip().partition("=")[::2] for c in _cookies(ask))
            if cookies.get("JSESSIONID") not in self._sessions:
                return _refusal(self.profile.expired_status, "Session is not valid")
            if not self.profile.permitted and parts != ["cntl", "state"]:
                return _refusal(403, "Access is denied")
            if ask.body is not None and ask.headers.get("content-type") != "application/json":
                return _refusal(415, "Unsupported media type")
            return self._known(ask, parts)

    def _login(self, ask: Ask) -> Say:
        if ask.method != "POST" or ask.headers.get("content-type") != _FORM:
            return _refusal(415, "Unsupported media type")
        form = {name: values[0] for name, values in parse_qs(ask.raw.decode()).items()}
        if (form.get("username"), form.get("password")) != (USER, PASSWORD):
            self.wrong_passwords += 1
            return _refusal(401, "Bad credentials")
        self.logins += 1
        session = secrets.token_hex(16)
        self._sessions.add(session)
        cookie = f"route=a; Expires=Wed, 21 Oct 2099 07:28:00 GMT, JSESSIONID={session}; HttpOnly"
        return Say(200, None, {"Set-Cookie": cookie})

    def _known(self, ask: Ask, parts: list[str]) -> Say:  # noqa: C901, PLR0911, PLR0912 - one for each route
        match (ask.method, *parts):
            case ("GET", "cntl", "state"):
                return _shown(ask, set(), {"name": "hs", "capacity": _CAPACITY})
            case ("GET", "nodes"):
                return _shown(ask, set(), [{"name": "dsx1", "nodeState": self.profile.node_state}])
            case ("GET", "storage-volumes"):
                states = {"operState": self.profile.volume_state, "storageVolumeState": "OK"}
                return _shown(ask, set(), [{"name": "dsx1-1", **states}])
            case ("GET", "tasks"):
                return _shown(ask, set(), [t.shown() for t in self._tasks.values() if t.remembered])
            case ("GET", "tasks", uuid):
                task = self._tasks.get(uuid)
                known = task is not None and task.remembered
                return Say(200, task.shown()) if task and known else _refusal(404, "Not found")
            case ("GET", "files"):
                return self._file(ask)
            case ("GET", "shares"):
                return _shown(ask, {"spec"}, [self._view(share) for share in self.shares.values()])
            case ("POST", "shares"):
                return self._make(ask)
            case (_, "shares", name) if self._share(name) is None:
                return _refusal(404, "Share not found")
            case ("GET", "shares", name):
                return _shown(ask, set(), self._view(self.share(name)))
            case ("PUT", "shares", name):
                return self._change(ask, self.share(name))
            case ("DELETE", "shares", name):
                return self._remove(ask, self.share(name))
            case (_, "share-snapshots", _, name, *_) if self._share(name) is None:
                return _refusal(404, "Share not found")
            case ("GET", "share-snapshots", "snapshot-list", name):
                kept = self.snapshots.get(self.share(name)["uoid"]["uuid"], {})
                return _shown(ask, set(), ["current", *kept])
            case ("POST", "share-snapshots", "snapshot-create", name):
                return self._keep(ask, self.share(name))
            case ("POST", "share-snapshots", "snapshot-delete", name, snapshot):
                return self._drop(self.share(name), snapshot)
        return _refusal(404, "No such resource")

    def _share(self, name: str) -> dict[str, Any] | None:
        found = [s for s in self.shares.values() if name in (s["name"], s["uoid"]["uuid"])]
        return next((s for s in found if _lives(s)), found[0] if found else None)

    def _add(self, facts: dict[str, Any], state: str) -> dict[str, Any]:
        uuid = str(uuid4())
        share = {"uoid": {"uuid": uuid, "objectType": "SHARE"}, "shareState": state, **_EMPTY}
        self.shares[uuid] = {**share, **facts}
        return self.shares[uuid]

    def _view(self, share: dict[str, Any]) -> dict[str, Any]:
        limit = share["shareSizeLimit"]
        name = self._directory(share["path"])
        used = self.shelf.used(name) if name and self.shelf.exists(name) else 0
        total = limit or _TOTAL
        sizes = {"total": total, "used": used, "available": max(total - used, 0)}
        space: dict[str, Any] = {key: str(value) for key, value in sizes.items()}
        shown = self.profile.no_limit if limit is None else str(limit)
        return {
            **share,
            "shareSizeLimit": shown,
            "space": {**space, "percent": used * 100 // total},
        }

    def _directory(self, path: str) -> str | None:
        """The name on the mount of a path in the name space; None for what is not on it."""
        top = f"{self.profile.mounted}/"
        return path.removeprefix(top) or None if path.startswith(top) else None

    def _file(self, ask: Ask) -> Say:
        path = ask.query.get("path", "")
        if set(ask.query) != {"path"} or not path.startswith("/"):
            return _refusal(400, "path is required")
        if f"{self.profile.mounted}/".startswith(f"{path.rstrip('/')}/"):
            return Say(200, {"name": path.rpartition("/")[2], "path": path})
        where = self.shelf.top / (self._directory(path) or "nowhere")
        if not where.exists():
            return _refusal(500, "Internal server error")
        facts = {"name": where.name, "path": path, "createTime": _milliseconds(time.time())}
        kept = self.snapshots.get(self._uuid_of(path), {}) if where.name == SNAPSHOTS else {}
        children = [
            {"name": one.name, "createTime": _milliseconds(kept.get(one.name, time.time()))}
            for one in (where.iterdir() if where.is_dir() else [])
        ]
        return Say(200, {**facts, "children": children})

    def _uuid_of(self, path: str) -> str:
        owner = path.removesuffix(f"/{SNAPSHOTS}")
        return next((k for k, s in self.shares.items() if s["path"] == owner and _lives(s)), "")

    def _make(self, ask: Ask) -> Say:
        body = ask.body
        if set(ask.query) - {"create-path", "validate-only"} or _unlike_flags(ask.query):
            return _refusal(400, "Unknown query parameter")
        if (wrong := _wrong_share(body, _NEW)) is not None:
            return wrong
        taken = [s for s in self.shares.values() if _lives(s)]
        if any(body["name"] == s["name"] or body["path"] == s["path"] for s in taken):
            return _refusal(400, f"Share {body['name']} exists, or it is being created.")
        if ask.query.get("validate-only") == "true":
            return Say(200, {"valid": True})
        share = self._add(body, "NONE")
        create = ask.query.get("create-path", "false") == "true"
        return self._task(
            "share-create", share["name"], lambda: self._publish(share, create=create)
        )

    def _publish(self, share: dict[str, Any], *, create: bool) -> None:
        if share["shareState"] != "NONE":
            return
        name = self._directory(share["path"])
        assert name is not None, "not on the mount"
        self.effects.append(f"create share {share['name']} {share['uoid']['uuid']}")
        if self.profile.visible_seconds:
            later = threading.Timer(self.profile.visible_seconds, self._place, [name, share])
            later.daemon = True
            later.start()
        elif create or self.shelf.exists(name):
            self._place(name, share)
        share["shareState"] = "PUBLISHED"

    def _place(self, name: str, share: dict[str, Any]) -> None:
        if not self.shelf.exists(name):
            self.shelf.make(name, 0o755, 0, 0)
        elif isinstance(self.shelf, BtrfsShelf):
            self.shelf.convert(name)
        self.shelf.limit(name, share["shareSizeLimit"])

    def _change(self, ask: Ask, share: dict[str, Any]) -> Say:
        body = ask.body
        known = {*share, "space", "warnUtilizationPercentThreshold"}
        if ask.query:
            return _refusal(400, "Unknown query parameter")
        if (wrong := _wrong_share(body, known)) is not None:
            return wrong
        if body.get("uoid") != share["uoid"]:
            return _refusal(400, "The object has another identifier")
        limit = body.get("shareSizeLimit")
        changed = {**_EMPTY, **body, "shareSizeLimit": int(limit) if limit else None}
        changed.pop("space", None)

        def change() -> None:
            share.update(changed)
            name = self._directory(share["path"])
            if name and self.shelf.exists(name):
                self.shelf.limit(name, share["shareSizeLimit"])

        return self._task("share-update", share["name"], change)

    def _remove(self, ask: Ask, share: dict[str, Any]) -> Say:
        if set(ask.query) - {"delete-path", "delete-delay"}:
            return _refusal(400, "Unknown query parameter")
        if not _lives(share):
            return _refusal(400, "Cannot remove a share with state REMOVED.")
        path_too = ask.query.get("delete-path", "false") == "true"

        def remove() -> None:
            if not _lives(share):
                return
            self.effects.append(f"delete share {share['name']} {share['uoid']['uuid']}")
            share["shareState"] = "REMOVED"
            name = self._directory(share["path"])
            for snapshot in list(self.snapshots.get(share["uoid"]["uuid"], {})):
                self._forget(share, snapshot)
            if name and self.shelf.exists(name):
                self.shelf.limit(name, None)
                if path_too:
                    shutil.rmtree(self.shelf.top / name)

        return self._task("share-delete", share["name"], remove)

    def _task(self, action: str, name: str, effect: Callable[[], None]) -> Say:
        end = self._ends.pop(0) if self._ends else "completed"
        if end == "completed" and self._random.random() < self.chance_of_task_fault:
            end = self._random.choice(_BY_CHANCE)
        uuid = str(uuid4())
        due = time.monotonic() + self.profile.task_seconds
        self._tasks[uuid] = SimTask(uuid, action, name, due, end, effect)
        link = f"{OTHER_HOST}{BASE}/tasks/{uuid}"
        return Say(HTTPStatus.ACCEPTED, None, {"Location": link})

    def _advance(self) -> None:
        """Do what is due; the share of a failed creation stays."""
        for task in self._tasks.values():
            if task.state == "EXECUTING" and time.monotonic() >= task.due:
                state, effect, task.remembered = ENDS[task.end]
                if effect:
                    task.effect()
                task.state = state

    def _keep(self, ask: Ask, share: dict[str, Any]) -> Say:
        if set(ask.query) - {"snapshot-name"}:
            return _refusal(400, "Unknown query parameter")
        name = ask.query.get("snapshot-name") or time.strftime("%Y-%m-%dT%H-%M-%S-0000-0")
        kept = self.snapshots.setdefault(share["uoid"]["uuid"], {})
        if name in kept:
            return _refusal(400, f"Snapshot {name} already exists")
        self.shelf.keep(self._directory(share["path"]) or "", SNAPSHOTS, name)
        kept[name] = max([*kept.values(), time.time()]) + 0.001
        self.effects.append(f"create snapshot {name}")
        return Say(200, name.encode(), _TEXT) if self.profile.bare_names else Say(200, name)

    def _drop(self, share: dict[str, Any], name: str) -> Say:
        if name not in self.snapshots.get(share["uoid"]["uuid"], {}):
            return _refusal(404, "Snapshot not found")
        self._forget(share, name)
        return Say(200, [{"result": "deleted"}])

    def _forget(self, share: dict[str, Any], name: str) -> None:
        self.shelf.forget(SNAPSHOTS, name)
        del self.snapshots[share["uoid"]["uuid"]][name]


def _lives(share: dict[str, Any]) -> bool:
    return bool(share["shareState"] != "REMOVED")


def _cookies(ask: Ask) -> list[str]:
    return [part for part in ask.headers.get("cookie", "").split(";") if part]


def _refusal(status: int, message: str) -> Say:
    return Say(status, {"status": status, "message": message})


def _shown(ask: Ask, known: set[str], body: Any) -> Say:
    if set(ask.query) - known:
        return _refusal(400, "Unknown query parameter")
    return Say(200, body)


def _unlike_flags(query: dict[str, str]) -> bool:
    return bool(set(query.values()) - {"true", "false"})


def _wrong_share(body: Any, known: set[str]) -> Say | None:  # noqa: PLR0911 - one for each rule
    if not isinstance(body, dict):
        return _refusal(400, "A share is an object")
    if extra := set(body) - known:
        return _refusal(400, f"Unrecognized field {min(extra)}")
    name, path = body.get("name"), body.get("path")
    if not isinstance(name, str) or not 0 < len(name) <= _NAME_MAX or set(name) & set(_FORBIDDEN):
        return _refusal(400, "The name of the share is not valid")
    if not isinstance(path, str) or not path.startswith("/"):
        return _refusal(400, "The path of the share is not valid")
    limit = body.get("shareSizeLimit")
    if isinstance(limit, str) and limit.isdigit():
        limit = int(limit)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit <= 0):
        return _refusal(400, "shareSizeLimit is not valid")
    exports = body.get("exportOptions", [])
    if not isinstance(exports, list) or any(set(one) - _EXPORT - {"id"} for one in exports):
        return _refusal(400, "exportOptions is a list")
    return None


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


_EVERYONE = {"id": "1", "subnet": "10.0.0.0/8", "accessPermissions": "RW", "rootSquash": False}
_CAPACITY = {"total": str(_TOTAL), "used": "1073741824", "free": str(_TOTAL - (1 << 30))}
_EMPTY: dict[str, Any] = {
    "comment": None,
    "extendedInfo": {},
    "shareSizeLimit": None,
    "exportOptions": [],
    "shareObjectives": [],
}
