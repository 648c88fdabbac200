"""ONTAP: one cluster, its SVMs, volumes, qtrees, quota rules and reports, and its jobs.

Written from NetApp's REST API reference. Changes are jobs, one at a time per volume;
`return_timeout` keeps the answer back until the job has ended or that long has passed. What an
SVM's own user may not see is refused.
"""

import threading
import time
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from simulators.arrays.ontap.files import OntapFiles
from simulators.arrays.ontap.jobs import JobFailure, Profile
from simulators.arrays.ontap.lists import Row, listing, refusal
from simulators.arrays.ontap.login import AuthorizationServer
from simulators.serving import Ask, Say
from simulators.shelf import Shelf

USER, PASSWORD = "vfolder", "sw0rdfish/ontap"
VOLUME, SVM = "research", "svm1"
#: So many wrong passwords lock the account.
WRONG_PASSWORDS_MAX = 6
GRANULE = 1024
QUOTA_STATES_HELD = ("on", "resizing")


def options(url: str) -> dict[str, Any]:
    """Return the options of a backend that speaks with it."""
    return {
        "netapp_ontap_endpoint": url,
        "netapp_ontap_user": USER,
        "netapp_ontap_password": PASSWORD,
        "netapp_volume_name": VOLUME,
    }


class OntapSim(OntapFiles):
    """The cluster; `shelf` is the root of the volume that is mounted."""

    def __init__(self, shelf: Shelf, profile: Profile | None = None, seed: int = 0) -> None:
        super().__init__(shelf, profile, seed)
        self.svm_uuid = str(uuid4())
        self.quota_state, self.volume_state = self.profile.quota, "online"
        self.qtrees: dict[str, int] = {}
        self.qtree_facts: dict[str, Row] = {}
        #: The other limits that are in force: soft ones, and those of files.
        self.further: dict[str, Row] = {}
        self._invisible: set[str] = set()
        #: Events: name, severity, seconds since then.
        self.events: list[tuple[str, str, float]] = []
        self.wrong_passwords = 0
        #: The authorization server whose tokens it accepts.
        self.issuer: AuthorizationServer | None = None
        self._next_id = 1
        self._until = 0.0
        self._index = 1 << 60

    @property
    def quotas(self) -> dict[str, Any]:
        """The qtrees and the rules of scopes; the rule of the volume itself has no name."""
        rules = {rule["qtree"]["name"]: rule for rule in self.rules.values()}
        return {name: found for name, found in {**self.qtrees, **rules}.items() if name}

    def overloaded(self, status: int) -> Say:
        say = refusal(status, "262160", "The server is busy. Retry the operation.")
        if self.random.random() < 0.5:
            say.headers["Retry-After"] = "0"
        return say

    def answer(self, ask: Ask) -> Say:
        if (no := self._stranger(ask)) is not None:
            return no
        if ask.body is None and ask.method in ("POST", "PATCH"):
            return refusal(400, "262186", "The request body is missing or no JSON.")
        parts = ask.path.removeprefix("/api/").split("/")
        acts: list[tuple[str, list[str], Callable[..., Say]]] = [
            ("GET", ["cluster"], self._cluster),
            ("GET", ["cluster", "nodes"], self._nodes),
            ("GET", ["cluster", "jobs", "*"], self._job),
            ("GET", ["support", "ems", "events"], self._events),
            ("GET", ["storage", "volumes"], self._volumes),
            ("GET", ["storage", "volumes", "*"], self._volume),
            ("PATCH", ["storage", "volumes", "*"], self._patch_volume),
            ("GET", ["storage", "volumes", "*", "snapshots"], self._list_snapshots),
            ("POST", ["storage", "volumes", "*", "snapshots"], self._make_snapshot),
            ("DELETE", ["storage", "volumes", "*", "snapshots", "*"], self._delete_snapshot),
            ("GET", ["storage", "volumes", "*", "files", "*"], self._files),
            ("DELETE", ["storage", "volumes", "*", "files", "*"], self._delete_files),
            ("POST", ["storage", "file", "clone"], self._clone_file),
            ("GET", ["storage", "qtrees"], self._list_qtrees),
            ("POST", ["storage", "qtrees"], self._make_qtree),
            ("DELETE", ["storage", "qtrees", "*", "*"], self._delete_qtree),
            ("GET", ["storage", "quota", "rules"], self._list_rules),
            ("POST", ["storage", "quota", "rules"], self._make_rule),
            ("PATCH", ["storage", "quota", "rules", "*"], self._patch_rule),
            ("DELETE", ["storage", "quota", "rules", "*"], self._delete_rule),
            ("GET", ["storage", "quota", "reports"], self._reports),
        ]
        for method, pattern, act in acts:
            if method == ask.method and len(parts) == len(pattern):
                found = [p for p, wanted in zip(parts, pattern, strict=True) if wanted == "*"]
                if all(w in ("*", p) for p, w in zip(parts, pattern, strict=True)):
                    return act(ask, *found)
        return refusal(404, "3", "The requested API is not supported.")

    def _stranger(self, ask: Ask) -> Say | None:
        if not self._knows(ask):
            return refusal(401, "6691623", "User is not authorized.")
        hidden = ("/api/cluster", "/api/cluster/nodes")
        if ask.path in hidden and not self.profile.cluster_user:
            return refusal(403, "6", "not authorized for that command")
        return None

    def _knows(self, ask: Ask) -> bool:
        """Return whether a request proves who sends it; six wrong passwords lock the account."""
        scheme, _, token = ask.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            return self.issuer is not None and token in self.issuer.valid
        if not scheme and ask.client:
            return ask.client == USER
        if self.wrong_passwords >= WRONG_PASSWORDS_MAX:
            return False
        if scheme == "Basic" and b64decode(token).decode() == f"{USER}:{PASSWORD}":
            return True
        self.wrong_passwords += 1
        return False

    # cluster and volumes

    def _cluster(self, _: Ask) -> Say:
        return Say(200, {"name": "cluster1", "version": {"full": "NetApp Release 9.14.1"}})

    def _nodes(self, ask: Ask) -> Say:
        rows = [{"uuid": name, "name": name, "state": s} for name, s in self.profile.nodes.items()]
        return listing(ask, rows, {"uuid", "name", "state"}, {"uuid", "name"}, self.profile.page)

    def _events(self, ask: Ask) -> Say:
        """The log of events; an event has no end."""
        if not self.profile.cluster_user:
            return refusal(403, "6", "not authorized for that command")
        rows = [
            {
                "index": number,
                "node": {"name": "node-1"},
                "time": (datetime.now(UTC) - timedelta(seconds=age)).isoformat(),
                "message": {"name": name, "severity": severity},
                "log_message": f"{name}: what happened",
            }
            for number, (name, severity, age) in enumerate(self.events)
        ]
        return listing(ask, rows, _EVENT, {"index", "node.name"}, self.profile.page)

    def _volumes(self, ask: Ask) -> Say:
        rows = [self._facts()]
        if self.profile.twin:
            other = {"uuid": str(uuid4()), "name": "svm2"}
            rows.append({**self._facts(), "uuid": str(uuid4()), "svm": other})
        return listing(ask, rows, _VOLUME, {"uuid", "name"}, self.profile.page)

    def _volume(self, ask: Ask, uuid: str) -> Say:
        if uuid != self.uuid:
            return refusal(404, "4", "entry doesn't exist", "uuid")
        say = listing(ask, [self._facts()], _VOLUME, {"uuid", "name"}, 10_000)
        return say if say.status != 200 else Say(200, say.body["records"][0])

    def _facts(self) -> Row:
        self._advance()
        samples = {k: {"read": 100 + self.random.randrange(9), "write": 50} for k in _RATES}
        total = 100 << 30
        return {
            "uuid": self.uuid,
            "name": VOLUME,
            "svm": {"uuid": self.svm_uuid, "name": SVM},
            "style": self.profile.style,
            "state": self.volume_state,
            "nas": {} if self.profile.junction is None else {"path": self.profile.junction},
            "quota": {"state": self.quota_state},
            "analytics": {"state": self.profile.analytics},
            "space": {"size": total, "afs_total": total * 95 // 100, "used": 10 << 30},
            "metric": {"status": "ok", "duration": "PT15S", **samples},
        }

    def _patch_volume(self, ask: Ask, uuid: str) -> Say:
        if uuid != self.uuid:
            return refusal(404, "4", "entry doesn't exist", "uuid")
        if set(ask.body) != {"quota"} or set(ask.body["quota"]) != {"enabled"}:
            return refusal(400, "262185", "Invalid field in the body.")
        wanted = ask.body["quota"]["enabled"]
        if not isinstance(wanted, bool):
            return refusal(400, "262185", "quota.enabled is a boolean.")

        def act() -> None:
            with self.lock:
                if wanted and self.quota_state != "off":
                    raise JobFailure("5308507", "Quota is already on.", 409)
                self.quota_state = "initializing" if wanted else "off"
                self.blocked = set()
                self._until = time.monotonic() + self.profile.initialising_seconds
                self._apply(dict.fromkeys(self.active))

        return self._later(ask, "quota on" if wanted else "quota off", act, 200)

    def initialised(self) -> None:
        """Let quota be on now, however long that was to take."""
        with self.lock:
            self._until = 0.0

    def _advance(self) -> None:
        """Let time pass: what was initialising is on."""
        with self.lock:
            if self.quota_state == "initializing" and time.monotonic() >= self._until:
                self.quota_state = "on"
                self._apply({r["qtree"]["name"]: _hard(r) for r in self.rules.values()})

    def _apply(self, wanted: dict[str, int | None]) -> None:
        held = self.quota_state in QUOTA_STATES_HELD
        self.active = {n: v for n, v in wanted.items() if held and n not in self.blocked}
        stored = {r["qtree"]["name"]: r for r in self.rules.values()}
        self.further = {
            name: {kind: dict(stored[name].get(kind, {})) for kind in _KINDS_OF_LIMIT}
            for name in self.active
            if name in stored
        }
        for name, limit in wanted.items():
            if name and self.shelf.exists(name):
                self.shelf.limit(name, limit)

    # qtrees

    def _rows_of_qtrees(self) -> list[Row]:
        with self.lock:
            for name in list(self.qtrees):  # rmdir(2) by a client takes a qtree away
                if not self.shelf.exists(name) and name not in self._invisible:
                    del self.qtrees[name]
            volume = {"uuid": self.uuid, "name": VOLUME}
            svm = {"uuid": self.svm_uuid, "name": SVM}
            return [
                {"id": number, "name": name, "volume": volume, "svm": svm}
                for name, number in [("", 0), *self.qtrees.items()]
            ]

    def _list_qtrees(self, ask: Ask) -> Say:
        rows = self._rows_of_qtrees()
        return listing(ask, rows, _QTREE, {"id", "name"}, self.profile.page)

    def _make_qtree(self, ask: Ask) -> Say:
        known = {"svm", "volume", "name", "unix_permissions", "user", "group"}
        if extra := set(ask.body) - known - {"security_style", "export_policy"}:
            return refusal(400, "262185", f"Unexpected field {extra}.")
        facts = {k: ask.body[k] for k in ("security_style", "export_policy") if k in ask.body}
        if (no := self._impossible_qtree(facts)) is not None:
            return no
        if (no := self._other_place(ask.body)) is not None:
            return no
        name, mode = ask.body["name"], ask.body.get("unix_permissions", 755)
        owner = [ask.body.get(who, {}).get("id", "0") for who in ("user", "group")]
        if not isinstance(mode, int) or not all(isinstance(one, str) for one in owner):
            return refusal(400, "262185", "Invalid type of a field.")
        if not 0 < len(name) <= 64:
            return refusal(400, "5242953", "The name is too long.")

        def act() -> None:
            with self.lock:
                if self.shelf.exists(name):
                    raise JobFailure("1", f'duplicate entry: qtree "{name}"', 409)
                self.qtrees[name] = self._next_id
                self.qtree_facts[name] = facts
                self._next_id += 1
                self.effects.append(f"create qtree {name}")
                self._show(name, int(str(mode), 8), int(owner[0]), int(owner[1]))
                default = any(not r["qtree"]["name"] for r in self.rules.values())
                if default and self.quota_state in QUOTA_STATES_HELD:
                    self.active.setdefault(name, None)

        return self._later(ask, f"create qtree {name}", act, 201)

    def _impossible_qtree(self, facts: Row) -> Say | None:
        if facts.get("security_style", "unix") not in ("unix", "mixed", "ntfs"):
            return refusal(400, "262197", "Invalid security style.")
        policy = facts.get("export_policy", {"name": "default"})
        if policy.get("name") not in self.profile.export_policies:
            return refusal(400, "1703952", "The export policy does not exist.")
        return None

    def _show(self, name: str, mode: int, uid: int, gid: int) -> None:
        """The directory, at once or when the client's attribute cache lets it be seen."""
        if not self.profile.visible_after_seconds:
            self.shelf.make(name, mode, uid, gid)
            return
        self._invisible = self._invisible | {name}

        def appear() -> None:
            self.shelf.make(name, mode, uid, gid)
            self._invisible = self._invisible - {name}

        threading.Timer(self.profile.visible_after_seconds, appear).start()

    def _other_place(self, body: Row) -> Say | None:
        if body.get("svm") != {"uuid": self.svm_uuid}:
            return refusal(404, "917505", "SVM not found.")
        if body.get("volume") != {"uuid": self.uuid}:
            return refusal(404, "917525", "Volume not found.")
        return None

    def _delete_qtree(self, ask: Ask, volume: str, number: str) -> Say:
        rows = {str(row["id"]): row["name"] for row in self._rows_of_qtrees()}
        if volume != self.uuid or number not in rows:
            return refusal(404, "4", "entry doesn't exist")
        if number == "0":
            return refusal(400, "5242894", "The default qtree cannot be deleted.")

        def act() -> None:
            self.effects.append(f"delete qtree {rows[number]}")
            self.qtrees.pop(rows[number], None)

        return self._later(ask, f"delete qtree {rows[number]}", act, 200)

    # rules and reports

    def _list_rules(self, ask: Ask) -> Say:
        with self.lock:
            rows = list(self.rules.values())
        return listing(ask, rows, _RULE, {"uuid", "type", "qtree.name"}, self.profile.page)

    def _make_rule(self, ask: Ask) -> Say:
        extra = set(ask.body) - {"svm", "volume", "type", "qtree", *_KINDS_OF_LIMIT}
        limits = {kind: dict(ask.body[kind]) for kind in _KINDS_OF_LIMIT if kind in ask.body}
        if extra or (no := _impossible(limits)) is not None:
            return no or refusal(400, "262185", "Unexpected field.")
        if (no := self._other_place(ask.body)) is not None:
            return no
        name = ask.body["qtree"]["name"]
        if name not in [row["name"] for row in self._rows_of_qtrees()]:
            return refusal(404, "5308571", f'Qtree "{name}" does not exist.')

        def act() -> None:
            with self.lock:
                names = [r["qtree"]["name"] for r in self.rules.values()]
                if name in names:
                    raise JobFailure("1", "duplicate entry: quota rule", 409)
                for each in ([] if "" in names else [""]) + [name]:
                    self._add_rule(each, limits if each else {})
                self.effects.append(f"create rule {name}")
                self._resize()

        return self._later(ask, f"create rule {name}", act, 201)

    def _add_rule(self, name: str, limits: Row) -> None:
        uuid = str(uuid4())
        place = {"volume": {"uuid": self.uuid}, "svm": {"uuid": self.svm_uuid}}
        row: Row = {"uuid": uuid, "type": "tree", "qtree": {"name": name}, **place}
        for kind in _KINDS_OF_LIMIT:
            row[kind] = {}
            _store(row, kind, limits.get(kind, {}))
        self.rules[uuid] = row

    def _resize(self) -> None:
        self._advance()
        if self.quota_state in QUOTA_STATES_HELD:
            wanted = dict.fromkeys(self.qtrees)
            wanted |= {r["qtree"]["name"]: _hard(r) for r in self.rules.values()}
            self._apply(wanted)

    def _patch_rule(self, ask: Ask, uuid: str) -> Say:
        if not ask.body or set(ask.body) - set(_KINDS_OF_LIMIT):
            return refusal(400, "262185", "Unexpected field.")
        if uuid not in self.rules:
            return refusal(404, "5308545", "No such quota policy rule.")
        wanted = {kind: {**self.rules[uuid][kind], **new} for kind, new in ask.body.items()}
        if (no := _impossible(wanted)) is not None:
            return no

        def act() -> None:
            with self.lock:
                for kind, limits in ask.body.items():
                    _store(self.rules[uuid], kind, limits)
                self._resize()

        return self._later(ask, f"change rule {uuid}", act, 200)

    def _delete_rule(self, ask: Ask, uuid: str) -> Say:
        if uuid not in self.rules:
            return refusal(404, "5308545", "No such quota policy rule.")

        def act() -> None:
            with self.lock:
                gone = self.rules.pop(uuid, None)
                if gone:
                    self.effects.append(f"delete rule {gone['qtree']['name']}")
                self._resize()

        return self._later(ask, f"delete rule {uuid}", act, 200)

    def _reports(self, ask: Ask) -> Say:
        self._advance()
        self._rows_of_qtrees()
        rows = []
        with self.lock:
            for name, limit in self.active.items():
                if self.quota_state in QUOTA_STATES_HELD and name in self.qtrees:
                    rows.append(self._row(name, limit))
        known = {"type", "index", "qtree.name", "volume.uuid", "space.hard_limit"}
        known |= {"space.used.total", "files.used.total", "space.soft_limit"}
        known |= {"files.hard_limit", "files.soft_limit"}
        return listing(ask, rows, known, {"type", "index", "qtree.name"}, self.profile.page)

    def _row(self, name: str, limit: int | None) -> Row:
        self._index += 1
        used = {"used": {"total": self.shelf.used(name) if self.shelf.exists(name) else 0}}
        further = self.further.get(name, {})
        space = {**further.get("space", {}), **used}
        space |= {} if limit is None else {"hard_limit": limit}
        inodes = {"used": {"total": sum(1 for _ in (self.shelf.top / name).rglob("*")) + 1}}
        files = {**further.get("files", {}), **inodes}
        place = {"qtree": {"name": name}, "volume": {"uuid": self.uuid}}
        return {"type": "tree", "index": self._index, "space": space, "files": files, **place}


def _impossible(limits: Row) -> Say | None:
    """Return the refusal of limits that no rule can have."""
    for limit in limits.values():
        if set(limit) - {"hard_limit", "soft_limit"}:
            return refusal(400, "262185", "Unexpected field.")
        if not all(isinstance(v, int) and v >= -1 for v in limit.values()):
            return refusal(400, "262185", "A limit is an integer.")
        hard, soft = limit.get("hard_limit", -1), limit.get("soft_limit", -1)
        if 0 <= hard < soft:
            return refusal(400, "2", "The soft limit is above the hard limit.")
    return None


def _store(rule: Row, kind: str, limits: Row) -> None:
    """Keep limits in a rule: bytes in whole KiB; a negative one is none."""
    unit = GRANULE if kind == "space" else 1
    for name, limit in limits.items():
        rule[kind].pop(name, None)
        if limit >= 0:
            rule[kind][name] = -(-limit // unit) * unit


def _hard(rule: Row) -> int | None:
    limit: Any = rule["space"].get("hard_limit")
    return limit if limit is None else int(limit)


_RATES = ("iops", "throughput", "latency")
_VOLUME = {"uuid", "name", "svm.uuid", "svm.name", "style", "state", "nas.path", "quota.state"}
_VOLUME |= {"analytics.state", "space.size", "space.used", "space.afs_total", "metric.status"}
_VOLUME |= {f"metric.{rate}.{kind}" for rate in _RATES for kind in ("read", "write")}
_EVENT = {"index", "node.name", "time", "message.name", "message.severity", "log_message"}
_QTREE = {"id", "name", "volume.uuid", "volume.name", "svm.name", "svm.uuid"}
_RULE = {"uuid", "type", "qtree.name", "volume.uuid", "svm.uuid"}
_KINDS_OF_LIMIT = ("space", "files")
_RULE |= {f"{kind}.{limit}_limit" for kind in _KINDS_OF_LIMIT for limit in ("hard", "soft")}
