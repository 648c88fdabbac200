"""What a OneFS cluster reports about itself: nodes, events, statistics, pools."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from simulators.serving import Ask, Say

TOTAL, USED = 100 << 30, 10 << 30
Answer = Callable[[Any, Ask], Say]


def remove(tree: Path) -> None:
    """Remove a tree, as a TreeDelete job does."""
    with suppress(FileNotFoundError):
        shutil.rmtree(tree)


def _statistics(profile: Any, ask: Ask) -> Say:
    values = {"ifs.bytes.total": TOTAL, "ifs.bytes.used": USED, "ifs.bytes.free": TOTAL - USED}
    wanted = ask.query["keys"].split(",")
    if not profile.statistics:
        return Say(200, {"stats": [_statistic(key, None, "no data", 9) for key in wanted]})
    return Say(200, {"stats": [_statistic(key, values.get(key), None, None) for key in wanted]})


def _statistic(key: str, value: int | None, error: str | None, code: int | None) -> dict[str, Any]:
    return {"devid": 0, "key": key, "value": value, "error": error, "error_code": code, "time": 1}


def _pools(_: Any, ask: Ask) -> Say:
    rows = [
        {"name": "hdd", "usage": _usage(TOTAL, USED // 2)},
        {"name": "ssd", "usage": _usage(TOTAL // 2, USED // 2)},
    ]
    return Say(200, {"storagepools": rows, "resume": None, "total": len(rows)})


def _usage(total: int, used: int) -> dict[str, str]:
    spare = {"virtual_hot_spare_bytes": str(1 << 30)}
    return {"usable_bytes": str(total), "used_bytes": str(used), "total_bytes": str(total)} | spare


def _summary(profile: Any, ask: Ask) -> Say:
    if set(ask.query) - {"protocols", "classes", "nodes", "timeout"}:
        return Say(400, {"errors": [{"code": "AEC_BAD_REQUEST", "message": "Unknown argument."}]})
    rows = [
        ("read", 100.0, 0.0, 1 << 20, 200.0),
        ("read", 300.0, 0.0, 3 << 20, 400.0),
        ("write", 50.0, 1 << 19, 0.0, 300.0),
        ("write", 0.0, None, None, None),
    ]
    names = ("class", "operation_rate", "in", "out", "time_avg")
    shown = [dict(zip(names, row, strict=True)) for row in rows if not profile.idle]
    return Say(200, {"protocol": [{**row, "protocol": "nfs3", "node": 1} for row in shown]})


def _nodes(profile: Any, ask: Ask) -> Say:
    rows = []
    for lnn in (1, 2, 3):
        ill = profile.ill_node if lnn == 2 else ""
        smartfail = {word: ill == word for word in ("dead", "down", "smartfailed", "readonly")}
        state = {"smartfail": smartfail, "readonly": {"enabled": ill == "read-only"}}
        rows.append({"id": lnn, "lnn": lnn, "state": state, "error": None})
    return Say(200, {"nodes": rows, "errors": [], "total": len(rows)})


def _events(profile: Any, ask: Ask) -> Say:
    row = {"id": "1", "severity": profile.severity, "resolved": False, "ignore": False}
    done = {**row, "id": "2", "severity": "critical", "resolved": True}
    rows = [done, row] if profile.severity else [done]
    return Say(200, {"eventgroups": rows, "resume": None, "total": len(rows)})


READABLE: dict[tuple[str, ...], Answer] = {
    ("statistics", "current"): _statistics,
    ("statistics", "summary", "protocol"): _summary,
    ("storagepool", "storagepools"): _pools,
    ("cluster", "nodes"): _nodes,
    ("event", "eventgroup-occurrences"): _events,
}
