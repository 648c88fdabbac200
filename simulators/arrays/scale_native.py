"""An API node of a Storage Scale cluster: the native REST API (v3).

Written from IBM's pages of the endpoints (5.2.3, 6.0.1). Every change is a long-running operation,
and so may a read be; an operation is kept for a while; numbers of 64 bits are digits in a string;
lists have opaque tokens of pages; errors are those of gRPC.
"""

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote

from simulators.arrays.scale import BASE, PASSWORD, USER, options
from simulators.arrays.scale_cluster import BLOCK, FILE_SYSTEM, MOUNT_POINT, Cluster, Refused
from simulators.serving import Ask, Say, Simulator

__all__ = ["BASE", "DOMAIN", "PASSWORD", "NativeProfile", "NativeSim", "options"]
DOMAIN = "StorageScaleDomain"
_NEW_FIELDS = {"name", "comment", "inode_space_designation", "max_inodes", "alloc_inodes"}
_LIMITS = {f"block_{kind}_limit_bytes" for kind in ("soft", "hard")}
_LIMITS |= {f"file_{kind}_limit" for kind in ("soft", "hard")}
_METADATA = {"@type": "type.googleapis.com/generic.v3.LongRunningOperationMetadata"}
_INVALID, _ABSENT, _EXISTS, _DENIED, _STATE, _ABORTED, _AWAY, _STRANGER = 3, 5, 6, 7, 9, 10, 14, 16
#: The code of gRPC: the status of HTTP, and its name.
_CODES = {
    _INVALID: (400, "INVALID_ARGUMENT"),
    _ABSENT: (404, "NOT_FOUND"),
    _EXISTS: (409, "ALREADY_EXISTS"),
    _DENIED: (403, "PERMISSION_DENIED"),
    _STATE: (400, "FAILED_PRECONDITION"),
    _ABORTED: (409, "ABORTED"),
    _AWAY: (503, "UNAVAILABLE"),
    _STRANGER: (401, "UNAUTHENTICATED"),
}
_KNOWN_CODES = {"EFSSP1102C": _EXISTS, "EFSSG0108C": _ABSENT, "EFSSG0264C": _ABSENT}


@dataclass
class NativeProfile:
    """What differs between releases and days."""

    page_max: int = 1000
    #: Polls of an operation until it is done.
    polls: int = 1
    #: Reads of filesets are operations, too.
    reads_are_operations: bool = False
    #: Numbers of quotas are numbers, as on the page of that endpoint, in place of digits.
    numbers: bool = True
    #: What the path of a fileset shows that is not linked.
    not_linked: str = "--"
    permitted: bool = True
    service_status: str = "RUNNING"
    domain: str = DOMAIN


@dataclass
class NativeSim(Simulator):
    """An API node."""

    further_options: ClassVar[dict[str, Any]] = {"gpfs_interface": "v3"}
    cluster: Cluster
    profile: NativeProfile = field(default_factory=NativeProfile)
    seed: int = 0
    chance_of_task_fault: float = 0.0
    wrong_passwords: int = 0
    logins: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._random = random.Random(self.seed)
        self.operations: dict[str, dict[str, Any]] = {}
        self._polls: dict[str, int] = {}

    @property
    def effects(self) -> list[str]:
        return self.cluster.effects

    @property
    def quotas(self) -> dict[str, Any]:
        """What is left on the cluster."""
        return {**self.cluster.limits, **self.cluster.filesets}

    def overloaded(self, status: int) -> Say:
        return Say(status, _words(_AWAY, "The daemon starts."), {"Retry-After": "0"})

    def answer(self, ask: Ask) -> Say:
        with self.lock:
            right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if ask.headers.get("authorization") != right:
                self.wrong_passwords += 1
                return _no(_STRANGER, "The user or the password is wrong.")
            parts = [unquote(part) for part in ask.path.split("/")[1:]]
            if parts[:2] != ["scalemgmt", "v3"]:
                return _no(_ABSENT, "Not Found")
            if parts[2:] != ["version"] and self._forbids(ask):
                return _no(_DENIED, "The user has no role for this action in the domain.")
            try:
                return self._known(ask, parts[2:])
            except Refused as refused:
                return _no(_KNOWN_CODES.get(refused.code, _STATE), refused.words)

    def _forbids(self, ask: Ask) -> bool:
        domain = ask.headers.get("x-storagescaledomain", DOMAIN)
        return not self.profile.permitted or domain != self.profile.domain

    # -- Routes --------------------------------------------------------------------------------
    def _known(self, ask: Ask, parts: list[str]) -> Say:  # noqa: C901, PLR0911 - one for each route
        match (ask.method, *parts):
            case ("GET", "version"):
                return Say(200, {"version": "6.0.1.0"})
            case ("GET", "apihealth"):
                return self._page(ask, "apihealth", [self._service(n) for n in ("node1", "node2")])
            case ("GET", "operations", name):
                return self._operation(name)
            case (_, "filesystems", name, *_) if name != FILE_SYSTEM:
                return _no(_ABSENT, f"There is no file system {name}.")
            case ("GET", "filesystems", _):
                facts = {"name": FILE_SYSTEM, "block_size": BLOCK}
                return Say(200, {**facts, "default_mount_point": MOUNT_POINT})
            case ("GET", "filesystems", _, "directory", place) if place.endswith(":stat"):
                if self.cluster.has_directory(place.removesuffix(":stat")):
                    return Say(200, {"is_directory": True})
                return _no(_ABSENT, "The directory does not exist.")
            case ("GET", "filesystems", _, "quotas"):
                rows = [self._quota(name) for name in sorted(self.cluster.filesets)]
                return self._page(ask, "quotas", rows)
            case ("PUT", "filesystems", _, "quotas"):
                return self._set_quota(ask)
            case (method, "filesystems", _, "filesets", *rest):
                return self._fileset(ask, method, rest)
        return _no(_ABSENT, "Not Found")

    def _fileset(self, ask: Ask, method: str, rest: list[str]) -> Say:  # noqa: PLR0911 - same
        name, _, verb = rest[0].partition(":") if rest else ("", "", "")
        match (method, bool(rest), verb):
            case ("GET", False, _):
                rows = [self._shown(one) for one in sorted(self.cluster.filesets)]
                return self._read(self._page(ask, "filesets", rows))
            case ("POST", False, _):
                return self._create(ask)
            case (_, _, _) if name not in self.cluster.filesets:
                return _no(_ABSENT, f"There is no fileset {name}.")
            case ("GET", _, ""):
                return self._read(Say(200, self._shown(name)))
            case ("DELETE", _, ""):
                return self._accept(lambda: self.cluster.delete(name))
            case ("POST", _, "link") if set(ask.body) == {"junction_path"}:
                return self._accept(lambda: self.cluster.link(name, ask.body["junction_path"]))
            case ("POST", _, "unlink") if set(ask.body) == {"force"}:
                force = ask.body["force"] is True
                return self._accept(lambda: self.cluster.unlink(name, force=force))
        return _no(_INVALID, "Unknown field, or no such action.")

    def _create(self, ask: Ask) -> Say:
        body = ask.body
        if not isinstance(body, dict) or set(body) - _NEW_FIELDS:
            return _no(_INVALID, "unknown field in the body")
        if not all(isinstance(value, str) for value in body.values()):
            return _no(_INVALID, "a field has the wrong type")
        space = body.get("inode_space_designation", "root")
        return self._accept(lambda: self.cluster.create(body["name"], "0:0", 0o700, space))

    def _set_quota(self, ask: Ask) -> Say:
        body = ask.body.get("quota") if isinstance(ask.body, dict) else None
        if not isinstance(body, dict) or set(body) - {"name", "type", *_LIMITS}:
            return _no(_INVALID, "unknown field in the body")
        limits = {name: value for name, value in body.items() if name in _LIMITS}
        if body["type"] != "QUOTA_TYPE_FILESET" or not all(
            isinstance(value, str) and value.isdigit() for value in limits.values()
        ):
            return _no(_INVALID, "a field has the wrong type")
        soft, hard = (int(limits[f"block_{kind}_limit_bytes"]) for kind in ("soft", "hard"))

        def done() -> None:
            self.cluster.set_block(body["name"], soft, hard)
            if "file_hard_limit" in limits:
                pair = (int(limits[f"file_{kind}_limit"]) for kind in ("soft", "hard"))
                self.cluster.set_files(body["name"], *pair)

        return self._accept(done)

    # -- Operations ----------------------------------------------------------------------------
    def _accept(self, act: Callable[[], Any]) -> Say:
        fault = self._random.random() < self.chance_of_task_fault
        kind = self._random.choice(["fail none", "fail full", "vanish", "stall"]) if fault else ""
        error: dict[str, Any] | None = None
        if kind == "fail none":
            error = _failure(_ABORTED, "Another operation is under way.")
        else:
            try:
                act()
            except Refused as refused:
                error = _failure(_KNOWN_CODES.get(refused.code, _STATE), refused.words)
            if kind == "fail full":
                error = error or _failure(_STATE, "The operation was interrupted.")
        ended = {"error": error} if error else {"response": {"@type": "type.googleapis.com/Empty"}}
        shown = self._begun(ended, self.profile.polls + (3 if kind == "stall" else 0))
        if kind == "vanish":
            del self.operations[shown["name"]]
        return Say(200, shown)

    def _begun(self, ended: dict[str, Any], polls: int) -> dict[str, Any]:
        words = f"1:{self._random.getrandbits(128):032x}"
        name = base64.b64encode(words.encode()).decode()
        shown = {"name": name, "metadata": _METADATA}
        self.operations[name] = {**shown, "done": True, **ended}
        self._polls[name] = polls
        return shown

    def _operation(self, name: str) -> Say:
        if name not in self.operations:
            return _no(_ABSENT, f"There is no operation {name}.")
        self._polls[name] -= 1
        if self._polls[name] >= 0:
            return Say(200, {"name": name, "metadata": _METADATA, "done": False})
        return Say(200, self.operations[name])

    def _read(self, say: Say) -> Say:
        if not self.profile.reads_are_operations or say.status != 200:
            return say
        return Say(200, self._begun({"response": say.body}, 0))

    # -- Lists ---------------------------------------------------------------------------------
    def _page(self, ask: Ask, name: str, rows: list[dict[str, Any]]) -> Say:
        if extra := set(ask.query) - {"page_size", "page_token", "view"}:
            return _no(_INVALID, f"unknown parameter {sorted(extra)}")
        token = ask.query.get("page_token", "")
        begin = int(base64.b64decode(token)) if token else 0
        size = min(int(ask.query.get("page_size", "100")), self.profile.page_max)
        shown: dict[str, Any] = {name: rows[begin : begin + size]}
        if begin + size < len(rows):
            shown["next_page_token"] = base64.b64encode(f"{begin + size}".encode()).decode()
        return Say(200, shown)

    def _shown(self, name: str) -> dict[str, Any]:
        known = self.cluster.filesets[name]
        path = known["path"] or self.profile.not_linked
        facts = {"name": name, "fs_name": FILE_SYSTEM, "id": 1, "alloc_inodes": "65", "path": path}
        return {one: value for one, value in facts.items() if value != ""}

    def _quota(self, name: str) -> dict[str, Any]:
        figures = self.cluster.figures(name)
        numbers = {
            "block_usage_bytes": figures["blockUsage"] << 10,
            "block_soft_limit_bytes": figures["blockQuota"] << 10,
            "block_hard_limit_bytes": self.cluster.limit_of(name),
            "block_in_doubt_bytes": 0,
            "file_usage": figures["filesUsage"],
            "file_soft_limit": figures["filesQuota"],
            "file_hard_limit": figures["filesLimit"],
        }
        spelled = numbers if self.profile.numbers else {n: f"{v}" for n, v in numbers.items()}
        grace = {"block_grace": figures["blockGrace"], "file_grace": figures["filesGrace"]}
        return {"type": "QUOTA_TYPE_FILESET", "id": 1, "name": name, **spelled, **grace}

    def _service(self, node: str) -> dict[str, Any]:
        status = self.profile.service_status if node == "node2" else "RUNNING"
        facts = {"node_name": node, "node_number": node[-1], "service": "REST Server"}
        return {**facts, "service_status": status, "message": "healthy"}


def _words(code: int, words: str) -> dict[str, Any]:
    return {"code": code, "message": words, "details": []}


def _no(code: int, words: str) -> Say:
    return Say(_CODES[code][0], _words(code, words))


def _failure(code: int, words: str) -> dict[str, Any]:
    status, name = _CODES[code]
    return {"httpcode": status, "status": name, "message": words, "details": []}
