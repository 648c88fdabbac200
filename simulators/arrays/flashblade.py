"""FlashBlade: one array, its file system, its sessions.

Written from Pure's REST references, 1.8 and 2.x. An API token buys a session that ends when nothing
is asked; too much is 429, 503, or 500 with words, also for logins; a name that is missing is 400.
"""

import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulators.serving import Ask, Say, Simulator
from simulators.shelf import Shelf

API_TOKEN, FILE_SYSTEM = "T-sw0rdfish-pure", "research"
VERSIONS = ["1.0", "1.8", "1.12", "2.0", "2.9", "2.14"]
SNAPSHOTS = ".snapshot"
SUFFIX_MAX = 63
_QUERY = {
    "file_system_names",
    "names",
    "token",
    "continuation_token",
    "limit",
    "filter",
    "protocol",
    "sort",
}


def options(url: str) -> dict[str, Any]:
    """Return the options of a backend that speaks with it."""
    return {
        "purity_endpoint": url,
        "purity_api_token": API_TOKEN,
        "purity_fs_name": FILE_SYSTEM,
    }


@dataclass
class Profile:
    """What differs between releases and days."""

    versions: list[str] = field(default_factory=lambda: list(VERSIONS))
    expired_status: int = 401
    provisioned: Any = 100 << 30
    destroyed: bool = False
    page: int = 100
    sessions_max: int = 100
    idle_seconds: float = 1800.0
    #: Whether the file system shows `.snapshot`, and by which names.
    shows_snapshots: bool = True
    full_names: bool = False
    #: Destroyed snapshots stay for a while.
    eradicates: bool = True
    #: Quotas: kind, number, bytes, bytes used.
    quotas: list[tuple[str, int, int, int]] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    blades: dict[str, str] = field(
        default_factory=lambda: {f"CH1.FB{n}": "healthy" for n in (1, 2)}
    )


@dataclass
class FlashBladeSim(Simulator):
    """The array; `top` is the root of its file system."""

    top: Path
    profile: Profile = field(default_factory=Profile)
    shelf: Shelf | None = None
    logins: int = 0
    logouts: int = 0
    wrong_passwords: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, float] = {}
        self._overloads = 0
        self._shelf = self.shelf or Shelf(self.top)
        #: By suffix.
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.effects: list[str] = []
        if self.profile.shows_snapshots:
            (self.top / SNAPSHOTS).mkdir(exist_ok=True)

    @property
    def tokens(self) -> list[str]:
        """Every session."""
        return list(self._sessions)

    def overloaded(self, status: int) -> Say:
        self._overloads += 1
        if self._overloads % 3 == 0:
            return _refusal(500, "", "Server is busy")
        say = _refusal(status, "", "Too many requests.")
        say.headers["Retry-After" if self._overloads % 2 else "RateLimit-Reset"] = "0"
        return say

    def expire(self) -> None:
        with self.lock:
            self._sessions.clear()

    def clean(self) -> None:
        """The array removes what was moved into `.fast-remove`."""
        for path in (self.top / ".fast-remove").iterdir():
            shutil.rmtree(path)

    def answer(self, ask: Ask) -> Say:
        with self.lock:
            if (ask.method, ask.path) == ("GET", "/api/api_version"):
                return Say(200, {"versions": self.profile.versions})
            if (ask.method, ask.path) == ("POST", "/api/login"):
                return self._login(ask)
            token = ask.headers.get("x-auth-token", "")
            used = self._sessions.get(token)
            if used is None or time.monotonic() - used > self.profile.idle_seconds:
                return _refusal(self.profile.expired_status, "", "Invalid or expired session.")
            self._sessions[token] = time.monotonic()
            if (ask.method, ask.path) == ("POST", "/api/logout"):
                del self._sessions[token]
                self.logouts += 1
                return Say(200, {"username": "vfolder"})
            return self._known(ask)

    def _login(self, ask: Ask) -> Say:
        if ask.headers.get("api-token") != API_TOKEN:
            self.wrong_passwords += 1
            return _refusal(401, "", "Invalid API token.")
        if len(self._sessions) >= self.profile.sessions_max:
            return _refusal(429, "", "Too many sessions.")
        self.logins += 1
        token = secrets.token_hex(24)
        self._sessions[token] = time.monotonic()
        return Say(200, {"username": "vfolder"}, {"x-auth-token": token})

    def _known(self, ask: Ask) -> Say:
        version, _, path = ask.path.removeprefix("/api/").partition("/")
        if version not in self.profile.versions:
            return _refusal(404, version, "API version not supported.")
        if path == "file-system-snapshots":
            return self._of_snapshots(ask, old=version.startswith("1."))
        if ask.method != "GET":
            return _refusal(405, "", "Method not allowed.")
        return self._listed(ask, path, old=version.startswith("1."))

    def _listed(self, ask: Ask, path: str, *, old: bool) -> Say:
        if extra := set(ask.query) - _QUERY:
            return _refusal(400, str(extra), "Invalid query parameter.")
        name = ask.query.get("names", FILE_SYSTEM)
        if path.startswith("file-systems") and name != FILE_SYSTEM:
            return _refusal(400, name, "File system does not exist.")
        lists: dict[str, list[dict[str, Any]]] = {
            "file-systems": [self._file_system()],
            "file-systems/performance": [_RATES],
            "arrays/space": [{"name": "fb1", "capacity": 500 << 30, "space": {}}],
            "alerts": [{"severity": severity, "state": "open"} for severity in self.profile.alerts],
            "blades": [{"name": n, "status": s} for n, s in self.profile.blades.items()],
        }
        for kind in ("users", "groups"):
            lists[f"usage/{kind}"] = [
                {kind[:-1]: {"id": number}, "quota": quota, "usage": used}
                for of, number, quota, used in self.profile.quotas
                if of == kind
            ]
        if path not in lists:
            return _refusal(404, path, "Not found.")
        return self._page(ask, lists[path], old=old)

    def _of_snapshots(self, ask: Ask, *, old: bool) -> Say:
        """Answer for the snapshots; the names of arguments differ by family."""
        if ask.method == "GET":
            return self._list_snapshots(ask, old=old)
        if ask.method == "POST":
            return self._make_snapshot(ask, "sources" if old else "source_names", old=old)
        names = "name" if old else "names"
        if set(ask.query) != {names}:
            return _refusal(400, "", "Invalid query parameter.")
        source, _, suffix = ask.query[names].partition(".")
        if source != FILE_SYSTEM or suffix not in self.snapshots:
            return _refusal(400, ask.query[names], "Snapshot does not exist.")
        if ask.method == "PATCH":
            return self._destroy(ask, suffix, old=old)
        return self._eradicate(suffix)

    def _list_snapshots(self, ask: Ask, *, old: bool) -> Say:
        name = "names_or_sources" if old else "names_or_owner_names"
        if extra := set(ask.query) - {name, "token", "continuation_token", "limit"}:
            return _refusal(400, str(extra), "Invalid query parameter.")
        if ask.query.get(name, FILE_SYSTEM) != FILE_SYSTEM:
            return _refusal(400, ask.query[name], "File system does not exist.")
        rows = [self._shown(row, old=old) for row in self.snapshots.values()]
        return self._page(ask, rows, old=old)

    def _shown(self, row: dict[str, Any], *, old: bool) -> dict[str, Any]:
        source: Any = FILE_SYSTEM if old else {"name": FILE_SYSTEM}
        return {"name": f"{FILE_SYSTEM}.{row['suffix']}", "source": source, **row}

    def _make_snapshot(self, ask: Ask, sources: str, *, old: bool) -> Say:
        if set(ask.query) != {sources} or set(ask.body or {}) - {"suffix"}:
            return _refusal(400, "", "Invalid query parameter.")
        if ask.query[sources] != FILE_SYSTEM:
            return _refusal(400, ask.query[sources], "File system does not exist.")
        suffix = (ask.body or {}).get("suffix", f"{len(self.snapshots)}")
        plain = suffix.replace("-", "").replace("_", "")
        ends = suffix[:1].isalnum() and suffix[-1:].isalnum()
        if not (0 < len(suffix) <= SUFFIX_MAX and plain.isalnum() and plain.isascii() and ends):
            return _refusal(400, suffix, "Invalid suffix.")
        if suffix in self.snapshots:
            return _refusal(400, suffix, "Snapshot already exists.")
        row = {"suffix": suffix, "created": time.time_ns() // 10**6, "destroyed": False}
        self.snapshots[suffix] = row
        self.effects.append(f"create snapshot {suffix}")
        if self.profile.shows_snapshots:
            self._shelf.keep(".", SNAPSHOTS, self._name_at_mount(suffix))
        return Say(200, {"items": [self._shown(row, old=old)]})

    def _name_at_mount(self, suffix: str) -> str:
        return f"{FILE_SYSTEM}.{suffix}" if self.profile.full_names else suffix

    def _destroy(self, ask: Ask, suffix: str, *, old: bool) -> Say:
        if ask.body != {"destroyed": True}:
            return _refusal(400, suffix, "Invalid attribute.")
        row = self.snapshots[suffix]
        if not row["destroyed"] and self.profile.shows_snapshots:
            self._shelf.discard(f"{SNAPSHOTS}/{self._name_at_mount(suffix)}")
        row |= {"destroyed": True, "time_remaining": 86_400_000}
        return Say(200, {"items": [self._shown(row, old=old)]})

    def _eradicate(self, suffix: str) -> Say:
        if not self.snapshots[suffix]["destroyed"]:
            return _refusal(400, suffix, "Snapshot is not destroyed.")
        if not self.profile.eradicates:
            return _refusal(400, suffix, "Eradication is disabled.")
        del self.snapshots[suffix]
        self.effects.append(f"delete snapshot {suffix}")
        return Say(200)

    def _file_system(self) -> dict[str, Any]:
        facts = {"name": FILE_SYSTEM, "destroyed": self.profile.destroyed}
        facts["space"] = {"virtual": 10 << 30, "unique": 5 << 30, "total_physical": 6 << 30}
        absent = self.profile.provisioned is None
        return facts if absent else {**facts, "provisioned": self.profile.provisioned}

    def _page(self, ask: Ask, rows: list[dict[str, Any]], *, old: bool) -> Say:
        if ("continuation_token" if old else "token") in ask.query:
            return _refusal(400, "", "Invalid query parameter.")
        start = int(ask.query.get("token") or ask.query.get("continuation_token") or 0)
        shown, end = rows[start : start + self.profile.page], start + self.profile.page
        more = {"continuation_token": str(end)} if end < len(rows) else {}
        if old:
            paging = {"pagination_info": {"total_item_count": len(rows), **more}}
            return Say(200, {"items": shown, "total": {}, **paging})
        count = {"total_item_count": len(rows), "more_items_remaining": bool(more)}
        return Say(200, {"items": shown, "total": [], **more, **count})


def _refusal(status: int, context: str, message: str) -> Say:
    return Say(status, {"errors": [{"context": context, "message": message}]})


_RATES = {
    "name": FILE_SYSTEM,
    "reads_per_sec": 100,
    "writes_per_sec": 50,
    "others_per_sec": 5,
    "read_bytes_per_sec": 1 << 20,
    "write_bytes_per_sec": 1 << 19,
    "usec_per_read_op": 200,
    "usec_per_write_op": 300,
    "time": 1_700_000_000_000,
}
