"""PowerScale: a OneFS cluster with sessions, SmartQuotas, SnapshotIQ and its job engine.

Written from Dell's OneFS API reference and its SDK. A session is a cookie that needs a second token
and our own address with each request; a quota is found by its path only, since its id changes; one
that had a limit never becomes an accounting quota; a page after the first is requested by `resume`
alone; PUT and DELETE answer 204 without a body; a directory of snapshots is beside the data.
"""

import base64
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from simulators.arrays import onefs_lists
from simulators.serving import Ask, Say, Simulator
from simulators.shelf import BtrfsShelf, Shelf

USER, PASSWORD = "vfolder", "sw0rdfish/onefs"
BASE = "/ifs/data/research"
SNAPSHOTS = ".snapshot"
SESSION = "/session/1/session"
_NEW_FIELDS = {"path", "type", "include_snapshots", "enforced", "thresholds", "container", "force"}
_THRESHOLDS = {"hard", "soft", "soft_grace", "advisory"}
_ON = "applogicalsize", "fslogicalsize", "physicalsize"
_LISTING = {"path", "type", "zone", "include_snapshots", "enforced", "limit", "resume"}


class Refused(Exception):
    """A request that the cluster refuses, with what it says."""

    def __init__(self, say: Say) -> None:
        super().__init__(say)
        self.say = say


def options(url: str) -> dict[str, Any]:
    """Return the options of a backend that speaks with it."""
    return {
        "dell_endpoint": url,
        "dell_username": USER,
        "dell_password": PASSWORD,
        "dell_ifs_path": BASE,
    }


@dataclass
class Profile:
    """What differs between releases and days."""

    latest: str = "16"
    page_max: int = 1000
    basic: bool = True
    sessions_max: int = 100
    inactive_seconds: float = 900.0
    #: How long QuotaScan needs for a directory that holds something.
    scan_seconds: float = 0.0
    #: None: the user may not read it.
    license: str | None = "Licensed"
    snapshot_license: str | None = "Licensed"
    #: The user has rights on quotas and snapshots.
    permitted: bool = True
    #: A quota that only counts cannot get a limit.
    accounting_stays: bool = False
    #: A default-directory quota on the parent gives each new directory a linked one, so limited.
    linked_limit: int | None = None
    #: The states that a TreeDelete job goes through; the tree is gone with `succeeded`.
    job_states: tuple[str, ...] = ("running", "succeeded")
    zone_path: str = "/ifs/data"
    ill_node: str = ""
    severity: str = ""
    idle: bool = False
    statistics: bool = True


@dataclass
class Session:
    """One login."""

    csrf: str
    used_at: float


@dataclass
class OneFsSim(Simulator):
    """The cluster; `shelf` is its directory `BASE`."""

    shelf: Shelf
    profile: Profile = field(default_factory=Profile)
    quotas: dict[str, dict[str, Any]] = field(default_factory=dict)
    snapshots: dict[int, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    logins: int = 0
    logouts: int = 0
    wrong_passwords: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.jobs: dict[int, dict[str, Any]] = {}
        self._number = 100
        self._linked: set[str] = set()
        self._pages: dict[str, tuple[str, list[Any]]] = {}
        (self.shelf.top / SNAPSHOTS).mkdir(exist_ok=True)

    def overloaded(self, status: int) -> Say:
        words = _error("AEC_EXCEPTION", "The cluster is changing its group.")
        return Say(status, words, {"Retry-After": "0"})

    @property
    def tokens(self) -> list[str]:
        """Every session, and its second token."""
        return [*self.sessions, *(session.csrf for session in self.sessions.values())]

    def expire(self) -> None:
        with self.lock:
            self.sessions.clear()

    def count_all(self) -> None:
        """Let QuotaScan end now, however long it was to take."""
        with self.lock:
            for quota in self.quotas.values():
                quota["ready_at"] = 0.0

    def answer(self, ask: Ask) -> Say:
        with self.lock:
            try:
                return self._answered(ask)
            except Refused as refused:
                return refused.say

    def _answered(self, ask: Ask) -> Say:
        if ask.path == SESSION:
            return self._session(ask)
        self._authenticate(ask)
        if ask.path == "/platform/latest":
            return Say(200, {"latest": self.profile.latest})
        parts = unquote(ask.path).strip("/").split("/")
        if parts[0] == "namespace":
            return self._namespace(ask, "/" + "/".join(parts[1:]))
        if parts[0] != "platform" or len(parts) < 3 or not parts[1].isdigit():
            raise _no(404, "AEC_NOT_FOUND", "Unknown resource.")
        if int(parts[1]) > int(self.profile.latest):
            raise _no(404, "AEC_NOT_FOUND", "Version not supported.")
        return self._platform(ask, int(parts[1]), parts[2:])

    # -- Sessions ------------------------------------------------------------------------------
    def _session(self, ask: Ask) -> Say:
        if ask.method == "DELETE":
            known = self._of(ask)
            if known is None:
                raise _no(401, "AEC_UNAUTHORIZED", "Authorization required")
            del self.sessions[known]
            self.logouts += 1
            return Say(204)
        body = ask.body if isinstance(ask.body, dict) else {}
        if set(body) != {"username", "password", "services"}:
            raise _no(400, "AEC_BAD_REQUEST", "Malformed session.")
        if (body["username"], body["password"]) != (USER, PASSWORD):
            self.wrong_passwords += 1
            raise _no(401, "AEC_UNAUTHORIZED", "Username or password is incorrect.")
        if len(self.sessions) >= self.profile.sessions_max:
            raise _no(503, "AEC_LIMIT_EXCEEDED", "Too many sessions.")
        self.logins += 1
        name, csrf = secrets.token_urlsafe(24), secrets.token_hex(16)
        self.sessions[name] = Session(csrf, time.monotonic())
        cookies = f"isisessid={name}; path=/; HttpOnly; Secure, isicsrf={csrf}; path=/; Secure"
        said = {"username": USER, "services": body["services"]}
        times = {"timeout_absolute": 14400, "timeout_inactive": 900}
        return Say(201, said | times, {"Set-Cookie": cookies})

    def _of(self, ask: Ask) -> str | None:
        """The session of a request; None: it has none that is good."""
        cookies = dict(
            pair.strip().partition("=")[::2] for pair in ask.headers.get("cookie", "").split(";")
        )
        name = cookies.get("isisessid", "")
        session = self.sessions.get(name)
        referer = ask.headers.get("referer", "").removeprefix("https://").rstrip("/")
        if session is None or ask.headers.get("x-csrf-token") != session.csrf:
            return None
        if referer != ask.headers["host"]:
            return None
        if time.monotonic() - session.used_at > self.profile.inactive_seconds:
            del self.sessions[name]
            return None
        session.used_at = time.monotonic()
        return name

    def _authenticate(self, ask: Ask) -> None:
        given = ask.headers.get("authorization", "")
        right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.wrong_passwords += bool(given) and given != right
        if not (given == right and self.profile.basic) and not (not given and self._of(ask)):
            raise _no(401, "AEC_UNAUTHORIZED", "Authorization required")

    # -- The namespace -------------------------------------------------------------------------
    def _namespace(self, ask: Ask, path: str) -> Say:
        if ask.method != "GET" or ask.query != {"metadata": ""}:
            raise _no(400, "AEC_BAD_REQUEST", "Unsupported operation.")
        if not self._exists(path):
            raise _no(404, "AEC_NOT_FOUND", "Unable to open object. No such file or directory.")
        kind = "container" if (self.shelf.top / _below(path)).is_dir() else "object"
        return Say(200, {"attrs": [{"name": "type", "value": kind, "namespace": None}]})

    def _exists(self, path: str) -> bool:
        within = f"{path}/".startswith(f"{BASE}/")
        return within and os.path.lexists(self.shelf.top / _below(path))

    # -- The platform --------------------------------------------------------------------------
    def _platform(self, ask: Ask, version: int, parts: list[str]) -> Say:  # noqa: C901, PLR0911 - one for each route
        features = {"quota": self.profile.license, "snapshot": self.profile.snapshot_license}
        match (ask.method, *parts):
            case ("GET", feature, "license") if version >= 5 and feature in features:
                if (status := features[feature]) is None:
                    raise _no(403, "AEC_FORBIDDEN", "Privilege check failed: ISI_PRIV_LICENSE")
                return Say(200, {"id": feature, "name": feature, "status": status})
            case ("GET", *names) if tuple(names) in onefs_lists.READABLE:
                return onefs_lists.READABLE[tuple(names)](self.profile, ask)
            case ("GET", "zones", "research"):
                return Say(200, {"zones": [{"name": "research", "path": self.profile.zone_path}]})
            case (_, "quota" | "snapshot", *_) if not self.profile.permitted:
                raise _no(403, "AEC_FORBIDDEN", "Privilege check failed: ISI_PRIV_QUOTA")
            case ("GET", "quota", "quotas"):
                return self._list(ask, "quotas", self._matching(ask, version), _LISTING)
            case ("POST", "quota", "quotas"):
                return self._make_quota(ask, version)
            case (_, "quota", "quotas", number) if number not in self.quotas:
                raise _no(404, "AEC_NOT_FOUND", f"Quota {number} not found.")
            case ("PUT", "quota", "quotas", number):
                return self._change_quota(self.quotas[number], ask.body)
            case ("DELETE", "quota", "quotas", number):
                return self._delete_quota(number)
            case (_, "snapshot", "snapshots", *rest):
                return self._snapshot(ask, rest)
            case (_, "job", "jobs", *rest):
                return self._job(ask, rest)
        raise _no(404, "AEC_NOT_FOUND", "Unknown resource.")

    def _list(self, ask: Ask, name: str, rows: list[Any], known: set[str]) -> Say:
        if extra := set(ask.query) - known:
            raise _no(400, "AEC_BAD_REQUEST", f"Unknown argument {sorted(extra)}.")
        if "resume" in ask.query:
            if set(ask.query) != {"resume"} or ask.query["resume"] not in self._pages:
                raise _no(400, "AEC_BAD_REQUEST", "No other argument may be given with resume.")
            rows = self._pages[ask.query["resume"]][1]
        size = min(int(ask.query.get("limit", "1000")), self.profile.page_max)
        resume = None
        if len(rows) > size:
            resume = secrets.token_hex(8)
            self._pages[resume] = (name, rows[size:])
        return Say(200, {name: rows[:size], "resume": resume, "total": len(rows)})

    # -- Quotas --------------------------------------------------------------------------------
    def _matching(self, ask: Ask, version: int) -> list[dict[str, Any]]:
        path = ask.query.get("path")
        self._link(path)
        return [self._shown(q, version) for q in self.quotas.values() if path in (None, q["path"])]

    def _link(self, path: str | None) -> None:
        """A default-directory quota of the parent limits each new directory."""
        limit = self.profile.linked_limit
        if limit is None or path is None or not self._exists(path) or path in self._linked:
            return
        self._linked.add(path)
        if not any(quota["path"] == path for quota in self.quotas.values()):
            made = self._new({"path": path, "include_snapshots": False, "enforced": True})
            made |= {"linked": True, "thresholds": {"hard": limit}}

    def _shown(self, quota: dict[str, Any], version: int) -> dict[str, Any]:
        ready = time.monotonic() >= quota["ready_at"]
        below = _below(quota["path"])
        used = self.shelf.used(below) if ready and self.shelf.exists(below) else 0
        shown = {k: v for k, v in quota.items() if k != "ready_at"}
        limits = {name: quota["thresholds"].get(name) for name in sorted(_THRESHOLDS)}
        shown |= {"ready": ready, "thresholds": limits, "notifications": "default"}
        if version < 10:
            shown["thresholds_include_overhead"] = shown.pop("thresholds_on") == "physicalsize"
            usage: dict[str, Any] = {"inodes": 1, "logical": used, "physical": 2 * used}
        else:
            names = ("applogical", "fslogical", "fsphysical")
            usage = {n: 2 * used if n == "fsphysical" else used for n in names}
            usage |= {f"{name}_ready": ready for name in names} | {"inodes": 1}
        return {**shown, "type": "directory", "persona": None, "usage": usage}

    def _make_quota(self, ask: Ask, version: int) -> Say:
        if set(ask.query) - {"zone"} or ask.query.get("zone", "research") != "research":
            raise _no(400, "AEC_BAD_REQUEST", "Unknown argument.")
        body, figure = ask.body, "thresholds_on" if version >= 10 else "thresholds_include_overhead"
        if not isinstance(body, dict) or (extra := set(body) - _NEW_FIELDS - {figure}):
            raise _no(400, "AEC_BAD_REQUEST", f"Unknown field {sorted(extra)}.")
        if self.profile.license not in ("Licensed", "Evaluation", None):
            raise _no(403, "AEC_FORBIDDEN", "The SmartQuotas license is not active.")
        limits = body.get("thresholds", {})
        _check_limits(limits, enforced=body["enforced"])
        if body.get("thresholds_on", "fslogicalsize") not in _ON or body["type"] != "directory":
            raise _no(400, "AEC_BAD_REQUEST", "Invalid value.", "type")
        path = body["path"]
        if not self._exists(path):
            raise _no(404, "AEC_NOT_FOUND", f"{path} does not exist.", "path")
        self._link(path)
        key = (path, body["include_snapshots"])
        if any((q["path"], q["include_snapshots"]) == key for q in self.quotas.values()):
            raise _no(409, "AEC_CONFLICT", "Another quota already exists with these parameters.")
        made = self._new({**body, "thresholds": limits})
        self.effects.append(f"create quota {path} {made['id']}")
        self._enforce(made)
        return Say(201, {"id": made["id"]})

    def _new(self, facts: dict[str, Any]) -> dict[str, Any]:
        name = base64.urlsafe_b64encode(secrets.token_bytes(24)).decode()
        below = _below(facts["path"])
        held = any((self.shelf.top / below).iterdir())
        if not held and isinstance(self.shelf, BtrfsShelf):
            self.shelf.convert(below)
        later = time.monotonic() + (self.profile.scan_seconds if held else 0.0)
        kept = {name: facts.get(name) for name in ("path", "include_snapshots", "enforced")}
        on = facts.get("thresholds_on", "fslogicalsize")
        made = {**kept, "id": name, "thresholds_on": on, "linked": False, "ready_at": later}
        self.quotas[name] = {**made, "thresholds": dict(facts.get("thresholds", {}))}
        return self.quotas[name]

    def _change_quota(self, quota: dict[str, Any], body: Any) -> Say:
        if not isinstance(body, dict) or set(body) - {"enforced", "thresholds", "linked"}:
            raise _no(400, "AEC_BAD_REQUEST", "Unknown field.")
        if quota["linked"]:
            if body != {"linked": False}:
                raise _no(400, "AEC_BAD_REQUEST", "A linked quota cannot be changed.", "linked")
            quota["linked"] = False
            return Say(204)
        enforced = body.get("enforced", quota["enforced"])
        if quota["enforced"] and not enforced:
            raise _no(400, "AEC_BAD_REQUEST", "The quota cannot become an accounting quota.")
        if enforced and not quota["enforced"] and self.profile.accounting_stays:
            raise _no(400, "AEC_BAD_REQUEST", "An accounting quota cannot be enforced.")
        limits = body.get("thresholds", quota["thresholds"])
        _check_limits(limits, enforced=enforced)
        quota["thresholds"] = {k: v for k, v in limits.items() if v is not None}
        quota["enforced"] = enforced
        self._enforce(quota)
        return Say(204)

    def _delete_quota(self, name: str) -> Say:
        if self.quotas[name]["linked"]:
            raise _no(400, "AEC_BAD_REQUEST", "A linked quota cannot be deleted.", "linked")
        gone = self.quotas.pop(name)
        below = _below(gone["path"])
        if self.shelf.exists(below):
            self.shelf.limit(below, None)
        self.effects.append(f"delete quota {gone['path']} {name}")
        return Say(204)

    def _enforce(self, quota: dict[str, Any]) -> None:
        limits = [q for q in self.quotas.values() if q["path"] == quota["path"] and q["enforced"]]
        hard = [q["thresholds"]["hard"] for q in limits if q["thresholds"].get("hard")]
        self.shelf.limit(_below(quota["path"]), min(hard, default=None))

    # -- Snapshots -----------------------------------------------------------------------------
    def _snapshot(self, ask: Ask, rest: list[str]) -> Say:
        rows = sorted(self.snapshots.values(), key=lambda row: -row["id"])
        if not rest and ask.method == "GET":
            return self._list(ask, "snapshots", rows, {"limit", "resume", "sort", "dir", "state"})
        if not rest and ask.method == "POST":
            return self._keep(ask.body)
        found = [row for row in rows if rest and rest[0] in (str(row["id"]), row["name"])]
        if not found:
            raise _no(404, "AEC_NOT_FOUND", "Snapshot not found.")
        if ask.method == "DELETE":
            gone = self.snapshots.pop(found[0]["id"])
            self.shelf.forget(SNAPSHOTS, gone["name"])
            self.effects.append(f"delete snapshot {gone['id']}")
            return Say(204)
        return Say(200, {"snapshots": found})

    def _keep(self, body: Any) -> Say:
        if not isinstance(body, dict) or set(body) - {"name", "path", "expires", "alias"}:
            raise _no(400, "AEC_BAD_REQUEST", "Unknown field.")
        name, path = body["name"], body["path"]
        if self.profile.snapshot_license not in ("Licensed", "Evaluation", None):
            raise _no(403, "AEC_FORBIDDEN", "The SnapshotIQ license is not active.")
        if not name or "/" in name or len(name) > 255:
            raise _no(400, "AEC_BAD_REQUEST", "Invalid name.", "name")
        if any(row["name"] == name for row in self.snapshots.values()):
            raise _no(409, "AEC_CONFLICT", f"Snapshot {name} already exists.")
        if not self._exists(path):
            raise _no(404, "AEC_NOT_FOUND", f"{path} does not exist.", "path")
        self.shelf.keep(_below(path), SNAPSHOTS, name)
        self._number += 1
        made = {"id": self._number, "name": name, "path": path, "created": int(time.time())}
        facts = {
            "state": "active",
            "size": 0,
            "has_locks": False,
            "expires": None,
            "schedule": None,
        }
        self.snapshots[self._number] = {**made, **facts}
        self.effects.append(f"create snapshot {path} {name}")
        return Say(201, self.snapshots[self._number])

    # -- Jobs ----------------------------------------------------------------------------------
    def _job(self, ask: Ask, rest: list[str]) -> Say:
        if ask.method == "POST" and not rest:
            body = ask.body
            if set(body) - {"type", "paths", "priority", "policy"} or body["type"] != "TreeDelete":
                raise _no(400, "AEC_BAD_REQUEST", "Unknown field or type.")
            self._number += 1
            states = list(self.profile.job_states)
            self.jobs[self._number] = {"paths": body["paths"], "states": states}
            self.effects.append(f"start job {self._number}")
            return Say(201, {"id": self._number})
        shown = [self._shown_job(n, job) for n, job in self.jobs.items()]
        if not rest:
            return self._list(ask, "jobs", shown, {"limit", "resume", "state", "batch"})
        if not rest[0].isdigit() or int(rest[0]) not in self.jobs:
            raise _no(404, "AEC_NOT_FOUND", "Job not found.")
        number = int(rest[0])
        job = self.jobs[number]
        said = self._shown_job(number, job)
        if len(job["states"]) > 1:
            job["states"].pop(0)
        return Say(200, {"jobs": [said]})

    def _shown_job(self, number: int, job: dict[str, Any]) -> dict[str, Any]:
        state = job["states"][0]
        if state == "succeeded":
            for path in job["paths"]:
                onefs_lists.remove(self.shelf.top / _below(path))
        return {
            "id": number,
            "type": "TreeDelete",
            "state": state,
            "control_state": state,
            "paths": job["paths"],
        }


def _below(path: str) -> str:
    return path.removeprefix(BASE).strip("/")


def _check_limits(limits: Any, *, enforced: bool) -> None:
    if set(limits) - _THRESHOLDS:
        raise _no(400, "AEC_BAD_REQUEST", "Unknown threshold.", "thresholds")
    given = {name: value for name, value in limits.items() if value is not None}
    for name, value in given.items():
        if type(value) is not int or not 0 < value < 2**63:
            raise _no(400, "AEC_BAD_REQUEST", "Not a valid threshold.", f"thresholds.{name}")
    if bool(given) != enforced:
        raise _no(400, "AEC_BAD_REQUEST", "An enforced quota has a threshold, another has none.")
    if ("soft" in given) != ("soft_grace" in given):
        raise _no(400, "AEC_BAD_REQUEST", "A soft threshold needs soft_grace.")
    if max(given.get("soft", 0), given.get("advisory", 0)) >= given.get("hard", 2**63):
        raise _no(400, "AEC_BAD_REQUEST", "The hard threshold is the highest.")


def _error(code: str, message: str, where: str | None = None) -> dict[str, Any]:
    said = {"code": code, "message": message}
    return {"errors": [said | ({"field": where} if where else {})]}


def _no(status: int, code: str, message: str, where: str | None = None) -> Refused:
    return Refused(Say(status, _error(code, message, where)))
