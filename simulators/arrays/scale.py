"""The GUI node of a Storage Scale cluster: the management API (v2).

Written from IBM's API reference and its CSI driver. Every change is a job, and so is the read of a
directory; a missing object is 400 with a text; an existing fileset is a job that fails; reads come
from a database that follows a refresh; a wrong password is a page of HTML, and five lock the user.
"""

import base64
import random
import re
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from simulators.arrays.scale_cluster import BLOCK, FILE_SYSTEM, MOUNT_POINT, Cluster, Refused
from simulators.serving import Ask, Say, Simulator

USER, PASSWORD = "vfolder", "sw0rdfish/scale"
BASE = f"{MOUNT_POINT}/research"
WRONG_PASSWORDS_MAX = 5
_LIMIT = re.compile(r"\d+[KMGTP]?")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_NEW_FIELDS = {"filesetName", "path", "owner", "permissions", "inodeSpace", "comment"} | {
    "maxNumInodes",
    "allocInodes",
}
_QUOTA = {"operationType", "quotaType", "objectName"} | {
    f"{what}{kind}Limit" for what in ("block", "files") for kind in ("Soft", "Hard")
}
_HTML = {"Content-Type": "text/html"}


def options(url: str) -> dict[str, Any]:
    """Return the options of a backend that speaks with it."""
    return {
        "gpfs_endpoint": url,
        "gpfs_username": USER,
        "gpfs_password": PASSWORD,
        "gpfs_fs_name": FILE_SYSTEM,
        "gpfs_path": BASE,
    }


@dataclass
class Profile:
    """What differs between releases and days."""

    page_max: int = 1000
    #: Polls of a job until it ends.
    polls: int = 0
    #: Seconds until the GUI reads its database again by itself, and after a refresh was asked.
    lag_seconds: float = 0.0
    refresh_seconds: float = 0.0
    #: A new fileset is linked at its path.
    links: bool = True
    permitted: bool = True
    #: The next jobs find no resources, or lose their node.
    busy: int = 0
    lost: int = 0
    config: bool = True
    node_state: str = "HEALTHY"
    #: The rates that the newest complete row shows; None: no row is complete.
    sampled: bool = True
    idle: bool = False


@dataclass
class ScaleSim(Simulator):
    """A GUI node; several nodes of a cluster have jobs of their own."""

    cluster: Cluster
    profile: Profile = field(default_factory=Profile)
    first_job: int = 1000
    seed: int = 0
    chance_of_task_fault: float = 0.0
    wrong_passwords: int = 0
    logins: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._random = random.Random(self.seed)
        self.jobs: dict[int, dict[str, Any]] = {}
        self._number = self.first_job
        self._read_at = 0.0
        self._refresh_at: float | None = None
        self._read()

    @property
    def effects(self) -> list[str]:
        return self.cluster.effects

    @property
    def quotas(self) -> dict[str, Any]:
        """What is left on the cluster."""
        return {**self.cluster.limits, **self.cluster.filesets}

    def overloaded(self, status: int) -> Say:
        return _no(
            status, "EFSSG0740C There are not enough resources available", {"Retry-After": "0"}
        )

    def answer(self, ask: Ask) -> Say:
        with self.lock:
            if (no := self._unauthenticated(ask)) is not None:
                return no
            parts = [unquote(part) for part in ask.path.split("/")[1:]]
            if parts[:2] != ["scalemgmt", "v2"]:
                return Say(404, b"<html>Not Found</html>", _HTML)
            self._follow()
            try:
                return self._known(ask, parts[2:])
            except Refused as refused:
                return _no(400, refused.words)

    def _unauthenticated(self, ask: Ask) -> Say | None:
        right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if ask.headers.get("authorization") != right:
            self.wrong_passwords += 1
        elif self.wrong_passwords < WRONG_PASSWORDS_MAX:
            allowed = self.profile.permitted or ask.path.endswith("/info")
            return None if allowed else _no(403, "The user is not authorized for this operation.")
        return Say(401, b"<html><head><title>Error 401</title></head></html>", _HTML)

    # -- The database of the GUI ---------------------------------------------------------------
    def _read(self) -> None:
        self._filesets = deepcopy(self.cluster.filesets)
        self._limits = {name: self.cluster.limit_of(name) for name in self._filesets}
        self._explicit = set(self.cluster.limits)
        stored = ("blockQuota", "filesQuota", "filesLimit")
        figures = {name: self.cluster.figures(name) for name in self._filesets}
        self._figures = {n: {one: row[one] for one in stored} for n, row in figures.items()}
        self._kept = deepcopy(self.cluster.snapshots)
        self._read_at = time.monotonic()

    def _follow(self) -> None:
        now = time.monotonic()
        due = self._refresh_at is not None and now >= self._refresh_at
        if due or now - self._read_at >= self.profile.lag_seconds:
            self._refresh_at = None if due else self._refresh_at
            self._read()

    # -- Routes --------------------------------------------------------------------------------
    def _known(self, ask: Ask, parts: list[str]) -> Say:  # noqa: C901, PLR0911, PLR0912 - one for each route
        match (ask.method, *parts):
            case ("GET", "info"):
                return _yes(info={"serverVersion": "5.2.3-0"})
            case ("GET", "config"):
                return self._config()
            case ("GET", "jobs", number):
                return self._job(number)
            case ("POST", "refreshTask", "enqueue"):
                return self._refresh(ask)
            case ("GET", "nodes"):
                return self._list(ask, "nodes", [self._node(n) for n in ("node1", "node2")])
            case ("GET", "nodes", _, "health", "states"):
                states = [{"component": "GPFS", "state": self.profile.node_state}]
                return self._list(ask, "states", [*states, {"component": "NFS", "state": "TIPS"}])
            case ("GET", "perfmon", "data"):
                return self._perfmon(ask)
            case (_, "filesystems", name, *_) if name != FILE_SYSTEM:
                return _no(400, "Invalid value in 'filesystemName'")
            case ("GET", "filesystems", _):
                return self._list(ask, "filesystems", [self._file_system()])
            case ("GET", "filesystems", _, "pools", *rest):
                return self._pools(ask, rest)
            case ("GET", "filesystems", _, "directory", path):
                return self._accept(ask, lambda: self._stat(path))
            case ("GET", "filesystems", _, "quotas"):
                return self._list(ask, "quotas", self._quotas(ask))
            case ("POST", "filesystems", _, "quotas"):
                return self._set_quota(ask, per_fileset=False)
            case (method, "filesystems", _, "filesets", *rest):
                return self._fileset(ask, method, rest)
        return Say(404, b"<html>Not Found</html>", _HTML)

    def _fileset(self, ask: Ask, method: str, rest: list[str]) -> Say:  # noqa: C901, PLR0911 - same
        match (method, *rest):
            case ("GET",):
                rows = [self._shown(name) for name in sorted(self._filesets)]
                return self._list(ask, "filesets", rows)
            case ("POST",):
                return self._create(ask)
            case ("GET", name) if name in self._filesets:
                return self._list(ask, "filesets", [self._shown(name)])
            case ("DELETE", name) if name in self._filesets or name in self.cluster.filesets:
                return self._accept(ask, lambda: self.cluster.delete(name))
            case ("DELETE", _):
                return _no(400, "Invalid value in 'fsetName'")
            case (_, name, *_) if name not in self._filesets and name not in self.cluster.filesets:
                return _no(400, "Invalid value in 'filesetName'")
            case ("POST", name, "link") if set(ask.body) == {"path"}:
                return self._accept(ask, lambda: self.cluster.link(name, ask.body["path"]))
            case ("DELETE", name, "link"):
                force = ask.query.get("force") == "True"
                return self._accept(ask, lambda: self.cluster.unlink(name, force=force))
            case ("POST", _, "quotas"):
                return self._set_quota(ask, per_fileset=True)
            case (_, name, "snapshots", *kept):
                return self._snapshot(ask, name, kept)
        return _no(400, "Invalid value in 'filesetName'")

    def _snapshot(self, ask: Ask, fileset: str, kept: list[str]) -> Say:
        if ask.method == "GET":
            rows = [
                {"snapshotName": one["name"], "snapshotID": one["id"], "status": "Valid"}
                for one in self._kept.get(fileset, [])
            ]
            return self._list(ask, "snapshots", rows)
        if ask.method == "POST" and set(ask.body) == {"snapshotName"}:
            return self._accept(ask, lambda: self.cluster.keep(fileset, ask.body["snapshotName"]))
        if ask.method == "DELETE" and kept:
            known = [one["name"] for one in self.cluster.snapshots.get(fileset, [])]
            if kept[0] not in known:
                return _no(400, "Invalid value in 'snapshotName'")
            return self._accept(ask, lambda: self.cluster.forget(fileset, kept[0]))
        return _no(400, "Unexpected field.")

    def _create(self, ask: Ask) -> Say:
        body = ask.body
        if not isinstance(body, dict) or set(body) - _NEW_FIELDS:
            return _no(400, "Unexpected field.")
        if not all(isinstance(value, str) for value in body.values()):
            return _no(400, "A field has the wrong type.")

        def made() -> None:
            mode = int(body.get("permissions", "755"), 8)
            self.cluster.create(body["filesetName"], body["owner"], mode, body["inodeSpace"])
            if self.profile.links:
                self.cluster.link(body["filesetName"], body["path"])

        return self._accept(ask, made)

    def _set_quota(self, ask: Ask, *, per_fileset: bool) -> Say:
        body = ask.body
        if not isinstance(body, dict) or set(body) - _QUOTA or body["quotaType"] != "fileset":
            return _no(400, "Unexpected field.")
        limits = {name: value for name, value in body.items() if name.endswith("Limit")}
        for name, value in limits.items():
            if not isinstance(value, str) or not _LIMIT.fullmatch(value):
                return _no(400, f"Invalid value in '{name}'")
        pairs = [
            (kind, limits[f"{kind}SoftLimit"], limits[f"{kind}HardLimit"])
            for kind in ("block", "files")
            if f"{kind}HardLimit" in limits
        ]

        def done() -> None:
            if per_fileset is not self.cluster.per_fileset:
                raise Refused("EFSSG0110C", "6027-3320", "The per-fileset quota is set otherwise.")
            for kind, soft, hard in pairs:
                change = self.cluster.set_block if kind == "block" else self.cluster.set_files
                change(body["objectName"], _count(soft), _count(hard))

        return self._accept(ask, done)

    # -- Jobs ----------------------------------------------------------------------------------
    def _accept(self, ask: Ask, act: Callable[[], Any]) -> Say:
        fault = self._random.random() < self.chance_of_task_fault
        kind = self._random.choice(["fail none", "fail full", "vanish", "stall"]) if fault else ""
        self._number += 1
        busy = self.profile.busy > 0
        self.profile.busy -= busy
        words = "EFSSG0740C There are not enough resources available" if busy else ""
        if self.profile.lost:
            self.profile.lost -= 1
            kind = "fail full"
        if kind == "fail none":
            words = "EFSSG0419C The operation is in progress already"
        if not words:
            try:
                act()
            except Refused as refused:
                words = f"{refused.code} {refused.number} {refused.words}"
        if kind == "fail full":
            words = words or "EFSSG0999C The connection to the node was lost"
        url = f"https://gui{ask.path}"
        self.jobs[self._number] = {
            "jobId": self._number,
            "status": "FAILED" if words else "COMPLETED",
            "polls": self.profile.polls + (3 if kind == "stall" else 0),
            "request": {"type": ask.method, "url": url, "data": ask.body},
            "result": _result(words),
        }
        shown = self._shown_job(self._number)
        if kind == "vanish":
            del self.jobs[self._number]
        return _yes(202, jobs=[{**shown, "status": "RUNNING"}])

    def _job(self, number: str) -> Say:
        if not number.isdigit() or int(number) not in self.jobs:
            return _no(400, "Invalid value in 'jobId'")
        return _yes(jobs=[self._shown_job(int(number))])

    def _shown_job(self, number: int) -> dict[str, Any]:
        job = self.jobs[number]
        job["polls"] -= 1
        running = job["polls"] >= 0
        shown = {name: value for name, value in job.items() if name != "polls"}
        return {**shown, "status": "RUNNING", "result": {}} if running else shown

    def _stat(self, path: str) -> None:
        if not self.cluster.has_directory(path):
            raise Refused("EFSSG0264C", "6027-1", f"The path {path} does not exist.")

    # -- Lists ---------------------------------------------------------------------------------
    def _list(self, ask: Ask, name: str, rows: list[dict[str, Any]]) -> Say:
        if extra := set(ask.query) - {"fields", "filter", "lastId", "pageSize"}:
            return _no(400, f"Unknown parameter {sorted(extra)}")
        begin, size = int(ask.query.get("lastId", "0")), self.profile.page_max
        page = rows[begin : begin + size]
        shown: dict[str, Any] = {name: page}
        if begin + size < len(rows):
            url = f"https://gui.example{ask.path}?lastId={begin + size}"
            shown["paging"] = {"next": url, "lastId": begin + size}
        return _yes(**shown)

    def _shown(self, name: str) -> dict[str, Any]:
        path = self._filesets[name]["path"] or "--"
        config = {"path": path, "inodeSpace": 1, "status": "Linked" if path != "--" else "Unlinked"}
        return {"filesetName": name, "filesystemName": FILE_SYSTEM, "config": config}

    def _quotas(self, ask: Ask) -> list[dict[str, Any]]:
        wanted = dict(part.split("=") for part in ask.query["filter"].split(","))
        if set(wanted) - {"objectName", "quotaType"}:
            raise Refused("", "", "Invalid filter")
        rows = []
        for name, limit in self._limits.items():
            if name == wanted["objectName"] and name in self.cluster.filesets:
                facts = {"objectName": name, "quotaType": "FILESET", "quotaId": 1}
                by_default = bool(limit) and name not in self._explicit
                figures = {**self.cluster.figures(name), **self._figures.get(name, {})}
                rows.append(
                    {**facts, "blockLimit": limit >> 10, "isDefaultQuota": by_default, **figures}
                )
        return rows

    def _file_system(self) -> dict[str, Any]:
        enforced = "user;group;fileset" if self.cluster.enforced else "none"
        return {
            "name": FILE_SYSTEM,
            "block": {"blockSize": BLOCK, "pools": "system;data"},
            "mount": {"mountPoint": MOUNT_POINT, "status": "mounted"},
            "quota": {
                "quotasAccountingEnabled": "user;group;fileset",
                "quotasEnforced": enforced,
                "defaultQuotasEnabled": "none",
                "perfilesetQuotas": self.cluster.per_fileset,
            },
        }

    def _config(self) -> Say:
        if not self.profile.config:
            return _no(403, "The user is not authorized for this operation.")
        settings = {"autoload": "yes", "clusterName": "c1"}
        if self.cluster.root_held is not None:
            settings["enforceFilesetQuotaOnRoot"] = "yes" if self.cluster.root_held else "no"
        return _yes(config={"clusterConfig": settings})

    def _pools(self, ask: Ask, rest: list[str]) -> Say:
        sizes = {"system": (None, None), "data": (100 << 20, 90 << 20), "fast": (1 << 20, 1 << 19)}
        if not rest:
            return self._list(ask, "storagePools", [{"storagePoolName": name} for name in sizes])
        if rest[0] not in sizes:
            return _no(400, "Invalid value in 'storagePool'")
        total, free = sizes[rest[0]]
        row = {"storagePoolName": rest[0], "totalDataInKB": total, "freeDataInKB": free}
        return self._list(ask, "storagePools", [row])

    def _node(self, name: str) -> dict[str, Any]:
        state = self.profile.node_state if name == "node2" else "HEALTHY"
        return {"adminNodeName": name, "status": {"nodeState": state, "gpfsState": state}}

    def _refresh(self, ask: Ask) -> Say:
        if ask.query.get("taskId") not in ("FILESETS", "QUOTA", "SNAPSHOTS"):
            return _no(400, "Invalid value in 'taskId'")
        self._refresh_at = time.monotonic() + self.profile.refresh_seconds
        return _yes(202, jobs=[])

    def _perfmon(self, ask: Ask) -> Say:
        question = ask.query["query"]
        found = re.fullmatch(
            rf"metrics ([a-z_,]+) from gpfs_fs_name={FILE_SYSTEM} last \d+ bucket_size 60", question
        )
        if found is None:
            return _no(400, f"Invalid query {question}")
        names, per_node = found[1].split(","), {"read_ops": 6000, "write_ops": 3000}
        per_node |= {"bytes_read": 60 << 20, "bytes_written": 30 << 20}
        per_node |= {"tot_disk_wait_rd": 3, "tot_disk_wait_wr": 6}
        legend = [
            {"caption": f"{name}({node})", "keys": [f"{node}|GPFSFilesystem|c1|fs1|{name}"]}
            for node in ("node1", "node2")
            for name in names
        ]
        one = [0 if self.profile.idle else per_node[n.removeprefix("gpfs_fs_")] for n in names]
        partial: list[int | None] = [*one, *[None] * len(names)]
        full: list[int | None] = [*one, *one]
        rows = [full, partial] if self.profile.sampled else [partial, partial]
        shown = [{"tstamp": n, "values": values} for n, values in enumerate(rows)]
        return _yes(performanceData={"legend": legend, "rows": shown})


def _count(text: str) -> int:
    number, unit = text.rstrip("KMGTP"), text[-1:] if text[-1:].isalpha() else ""
    return int(number) * _UNITS[unit]


def _result(words: str) -> dict[str, Any]:
    stderr = [words] if words else []
    return {"exitCode": 1 if words else 0, "stderr": stderr, "stdout": [], "commands": []}


def _yes(status: int = 200, **body: Any) -> Say:
    return Say(status, {"status": {"code": status, "message": "ok"}, **body})


def _no(status: int, words: str, headers: dict[str, str] | None = None) -> Say:
    return Say(status, {"status": {"code": status, "message": words}}, headers or {})
