"""Stand-ins for the commands of Storage Scale, beside a `state.json`.

They make what the commands make, on real directories. `-Y` prints the columns in the order that the
state names, with one that no reader knows. Every call is a line of `calls.jsonl`.

Each `mm…` is a program of the shell, which asks this process: a start of Python costs more than all
that a command does.
"""

import json
import os
import random
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from simulators.arrays.scale_cluster import BLOCK, FILE_SYSTEM, Cluster, Refused
from simulators.shelf import BtrfsShelf, Shelf

#: It sends its name and its arguments; the answer is its exit status and what it prints.
PROGRAM = r"""#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/PORT || exit 99
printf '%s\0' "${0##*/}" "$@" >&3
printf '\0' >&3
read -r status <&3
if [ "$status" = hang ]; then (sleep 600; :) & sleep 600; :; fi
if [ "$status" = 0 ]; then cat <&3; else cat <&3 >&2; fi
exit "$status"
"""

STATE = ("filesets", "snapshots", "limits", "further", "effects", "count", "nodes")
SETTINGS = ("default_limit", "per_fileset", "enforced", "root_held", "in_use")


class Usage(Exception):
    """Arguments that the command does not know."""


@contextmanager
def commands(directory: Path, shelf: Shelf, **settings: Any) -> Iterator[None]:
    """Make the directory of the commands, for a file system on a shelf, and answer them."""
    kind = "btrfs" if isinstance(shelf, BtrfsShelf) else "plain"
    state = {"top": str(shelf.top), "kind": kind, "seed": 1, "settings": settings, "faults": []}
    (directory / "state.json").write_text(json.dumps(state))
    with _Listener(directory) as listener:
        for name in COMMANDS:
            program = directory / name
            program.write_text(PROGRAM.replace("PORT", str(listener.server_address[1])))
            program.chmod(0o755)
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown()


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Call)


class _Call(socketserver.StreamRequestHandler):
    """One run of a command."""

    server: _Listener

    def handle(self) -> None:
        words = []
        while word := self._word():
            words.append(word)
        with self.server.lock:
            status, text = called(self.server.directory, *words)
        self.wfile.write(f"{status}\n{text}".encode())

    def _word(self) -> str:
        found = bytearray()
        while (byte := self.rfile.read(1)) not in (b"", b"\0"):
            found += byte
        return found.decode()


def options(directory: Path, shelf: Shelf) -> dict[str, Any]:
    """Return the options of a backend that runs them."""
    return {
        "gpfs_interface": "commands",
        "gpfs_command_dir": str(directory),
        "gpfs_fs_name": FILE_SYSTEM,
        "gpfs_path": str(shelf.top),
    }


def loaded(state: dict[str, Any]) -> Cluster:
    """The cluster of a state."""
    top = Path(state["top"])
    shelf = BtrfsShelf(top, enable=False) if state["kind"] == "btrfs" else Shelf(top)
    known = {name: state[name] for name in STATE if name in state}
    place: dict[str, Any] = {"mount_point": str(top.parent), "base": str(top)}
    return Cluster(shelf, **place, **known, **state["settings"])


def called(here: Path, program: str, *words: str) -> tuple[int | str, str]:
    """Run a command: its exit status, or `hang`, and what it prints."""
    with (here / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([program, *words]) + "\n")
    state = json.loads((here / "state.json").read_text())
    fault = next((f for f in state["faults"] if f[0] == program), None)
    if fault is not None:
        state["faults"].remove(fault)
        (here / "state.json").write_text(json.dumps(state))
        if fault[1] == "hang":
            return "hang", ""
        if fault[1] != "after":
            return failed(program, 1, fault[1])
    done = run(here, program, list(words), state)
    return failed(program, 1, "6027-1639 Command failed.") if fault else done


def run(here: Path, program: str, words: list[str], state: dict[str, Any]) -> tuple[int, str]:
    """Run a command; leave the state to the next one."""
    cluster = loaded(state)
    try:
        rows = COMMANDS[program](cluster, words)
    except Refused as refused:
        missing = refused.number in ("6027-1554", "6027-2683")
        return failed(program, 2 if missing else 1, f"{refused.number} {refused.words}")
    except (Usage, ValueError, IndexError):
        return failed(program, 1, f"6027-1594 Run the {program} command until successful: usage")
    finally:
        draft = here / "state.json.new"
        now = {name: getattr(cluster, name) for name in STATE}
        draft.write_text(json.dumps(state | now))
        draft.rename(here / "state.json")
    return 0, shown(program, rows or [], state["seed"])


def failed(program: str, status: int, words: str) -> tuple[int, str]:
    """How a command ends that fails."""
    return status, f"{program}: {words}\n"


def shown(program: str, rows: list[dict[str, Any]], seed: int) -> str:
    """Rows as `-Y` prints them: a header before the first row of a section."""
    seen, lines = set(), []
    for row in rows:
        section = row.get("", "")
        names = [name for name in row if name] + ["unheardOf"]
        random.Random(seed).shuffle(names)
        if section not in seen:
            seen.add(section)
            lines.append(":".join([program, section, "HEADER", "1", "", "", *names, ""]))
        values = [quote(str(row.get(name, "")), safe=" ;,.-_") for name in names]
        lines.append(":".join([program, section, "0", "1", "", "", *values, ""]))
    return "".join(f"{line}\n" for line in lines)


def exactly(words: list[str], *shape: str | None) -> list[str]:
    """The words in the places of None; the others must be as the shape has them."""
    if len(words) != len(shape) or any(
        s not in (None, w) for s, w in zip(shape, words, strict=True)
    ):
        raise Usage
    return [word for word, place in zip(words, shape, strict=True) if place is None]


def crfileset(cluster: Cluster, words: list[str]) -> None:
    inodes = words[5:]
    if inodes and (inodes[0] != "--inode-limit" or words[4] != "new"):
        raise Usage
    name, space = exactly(words[:5] if inodes else words, FILE_SYSTEM, None, "--inode-space", None)
    cluster.create(name, f"{os.geteuid()}:{os.getegid()}", 0o700, space)


def linkfileset(cluster: Cluster, words: list[str]) -> None:
    cluster.link(*exactly(words, FILE_SYSTEM, None, "-J", None))


def unlinkfileset(cluster: Cluster, words: list[str]) -> None:
    cluster.unlink(*exactly(words, FILE_SYSTEM, None))


def delfileset(cluster: Cluster, words: list[str]) -> None:
    cluster.delete(*exactly(words, FILE_SYSTEM, None))


def setquota(cluster: Cluster, words: list[str]) -> None:
    target, kind, limit = exactly(words, None, None, None)
    device, _, name = target.partition(":")
    soft, _, hard = limit.partition(":")
    unit = "K" if kind == "--block" else ""
    numbers = [number.removesuffix(unit) for number in (soft, hard) if number.endswith(unit)]
    if device != FILE_SYSTEM or len(numbers) != 2 or not all(n.isdigit() for n in numbers):
        raise Usage
    changes = {"--block": cluster.set_block, "--files": cluster.set_files}
    if kind not in changes:
        raise Usage
    scale = 1 << 10 if unit else 1
    changes[kind](name, int(numbers[0]) * scale, int(numbers[1]) * scale)


def lsquota(cluster: Cluster, words: list[str]) -> list[dict[str, Any]]:
    (name,) = exactly(words, "-v", "-j", None, FILE_SYSTEM, "-Y")
    cluster.check_known(name)
    limit = cluster.limit_of(name)
    default = "yes" if limit and name not in cluster.limits else "no"
    facts = {"filesystemName": FILE_SYSTEM, "quotaType": "FILESET", "id": 1, "name": name}
    limits = {"blockLimit": limit >> 10, "defQuota": default}
    return [facts | cluster.figures(name) | limits]


def lsfileset(cluster: Cluster, words: list[str]) -> list[dict[str, Any]]:
    if "-J" in words:
        (path,) = exactly(words, FILE_SYSTEM, "-J", None, "-Y")
        names = [name for name, one in cluster.filesets.items() if one["path"] == path]
        if not names:
            raise Refused("", "6027-1554", f"{path} is not a junction.")
    else:
        names = exactly(words, FILE_SYSTEM, None, "-Y")
        cluster.check_known(names[0])
    return [
        {"filesystemName": FILE_SYSTEM, "filesetName": name, "status": "Linked"}
        | {"path": cluster.filesets[name]["path"] or "--"}
        for name in names
    ]


def crsnapshot(cluster: Cluster, words: list[str]) -> None:
    name, fileset = exactly(words, FILE_SYSTEM, None, "-j", None)
    cluster.keep(fileset, name)


def delsnapshot(cluster: Cluster, words: list[str]) -> None:
    name, fileset = exactly(words, FILE_SYSTEM, None, "-j", None)
    cluster.forget(fileset, name)


def lssnapshot(cluster: Cluster, words: list[str]) -> list[dict[str, Any]]:
    (fileset,) = exactly(words, FILE_SYSTEM, "-j", None, "-Y")
    kept = cluster.snapshots.get(fileset, [])
    rows = [{"directory": one["name"], "snapID": one["id"], "status": "Valid"} for one in kept]
    return [{"filesystemName": FILE_SYSTEM, "fileset": fileset, **row} for row in rows]


def lsfs(cluster: Cluster, words: list[str]) -> list[dict[str, Any]]:
    if words != [FILE_SYSTEM, "-Y"]:
        raise Refused("", "6027-1554", f"File system {words[0]} is not known to the cluster.")
    facts = {
        "blockSize": BLOCK,
        "defaultMountPoint": cluster.mount_point,
        "quotasEnforced": "user;group;fileset" if cluster.enforced else "none",
        "perfilesetQuotas": "Yes" if cluster.per_fileset else "No",
    }
    return [{"filesystemName": FILE_SYSTEM, "fieldName": n, "data": v} for n, v in facts.items()]


def lsconfig(cluster: Cluster, words: list[str]) -> list[dict[str, Any]]:
    exactly(words, "-Y")
    rows = [{"configParameter": "autoload", "value": "yes", "nodeList": ""}]
    if cluster.root_held is not None:
        value = "yes" if cluster.root_held else "no"
        rows.append(
            {"configParameter": "enforceFilesetQuotaOnRoot", "value": value, "nodeList": ""}
        )
    return rows


def lsattr(cluster: Cluster, words: list[str]) -> None:
    (path,) = exactly(words, "-L", None)
    if not f"{path}/".startswith(f"{cluster.base}/"):
        raise Refused("", "6027-1256", f"{path} is not in a GPFS file system.")


def getstate(cluster: Cluster, words: list[str]) -> list[dict[str, Any]]:
    exactly(words, "-a", "-Y")
    return [{"nodeName": f"node{n}", "state": state} for n, state in enumerate(cluster.nodes, 1)]


def df(_: Cluster, words: list[str]) -> list[dict[str, Any]]:
    exactly(words, FILE_SYSTEM, "-Y")
    total = {"totalSize": 100 << 20, "freeBlocks": 90 << 20}
    pool = {"": "poolTotal", "poolName": "data", "poolSize": 100 << 20, "freeBlocks": 90 << 20}
    return [pool, {"": "fsTotal", **total}]


COMMANDS: dict[str, Callable[[Cluster, list[str]], list[dict[str, Any]] | None]] = {
    "mmcrfileset": crfileset,
    "mmlinkfileset": linkfileset,
    "mmunlinkfileset": unlinkfileset,
    "mmdelfileset": delfileset,
    "mmsetquota": setquota,
    "mmlsquota": lsquota,
    "mmlsfileset": lsfileset,
    "mmcrsnapshot": crsnapshot,
    "mmdelsnapshot": delsnapshot,
    "mmlssnapshot": lssnapshot,
    "mmlsfs": lsfs,
    "mmlsconfig": lsconfig,
    "mmlsattr": lsattr,
    "mmgetstate": getstate,
    "mmdf": df,
}
