#!/usr/bin/python3 -IS
"""A stand-in for Lustre's `lfs`: project ids, limits, usage and targets of a real directory.

Written from the Lustre manual and the man pages of lfs, not from our client. It is strict: an
unknown option gets the usage text. Everything lies beside the link by which it is called:

    state.json    mount (the directory that is Lustre), projects (false: quota is not accounted),
                  delimiter (versions from 2026), real (limits are those of an XFS or ext4 below),
                  away (targets), unanswered (targets that keep their counts to themselves),
                  fault (hang, garbage, denied, default), lag (counts of a new id are not seen),
                  seed and rate (so many of the calls fail in one of the ways of BY_CHANCE)
    limits.json   id: limits in KiB and inodes
    calls.jsonl   every call
"""

import fcntl
import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

HOME = Path(sys.argv[0]).parent
TAG = "trusted.lustre.projid"
#: A longer mount point has a line of its own.
NAME_MAX = 15
NOT_LUSTRE = "{}: '{}' not on a mounted Lustre filesystem"
USAGE = "usage: lfs {}\n"
INCOMPLETE = (
    "Some errors happened when getting quota info. Some devices may be not working or "
    'deactivated. The data in "[]" is inaccurate.'
)


#: How a call fails by chance: nothing was done; it was done and the answer is lost or cut.
BY_CHANCE = ("refused", "busy", "killed", "lost", "cut")


class Stop(Exception):
    """Ends the run with a status and a complaint."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(words)
        self.status = status


STATE = json.loads((HOME / "state.json").read_text())


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def options(words: list[str], flags: str, values: str) -> tuple[dict[str, str], list[str]]:
    """The options as getopt(3) takes them apart, and what is left."""
    found: dict[str, str] = {}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word.startswith("--delimiter=") and STATE.get("delimiter"):
            found["delimiter"] = word.partition("=")[2]
        elif word.startswith("-") and len(word) == 2 and word[1] in values:
            if not queue:
                raise Stop(1, "option requires an argument")
            found[word[1]] = queue.pop(0)
        elif word.startswith("-") and len(word) > 1 and set(word[1:]) <= set(flags):
            found.update(dict.fromkeys(word[1:], ""))
        elif word.startswith("-"):
            raise Stop(1, USAGE.format("[see help]"))
        else:
            rest.append(word)
    return found, rest


def mounted(command: str, rest: list[str]) -> Path:
    """The mount point that a command was given."""
    if len(rest) != 1:
        raise Stop(1, USAGE.format(command))
    top = Path(STATE["mount"])
    if Path(os.path.realpath(rest[0])) != Path(os.path.realpath(top)):
        raise Stop(19, NOT_LUSTRE.format(command, rest[0]))
    return top


def number(text: str) -> int:
    if not text.isdecimal():
        raise Stop(1, f"invalid id '{text}'")
    return int(text)


@contextmanager
def limits() -> Iterator[dict[str, list[int]]]:
    """The limits, for one process at a time."""
    path = HOME / "limits.json"
    with (HOME / "limits.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = json.loads(path.read_text()) if path.exists() else {}
        yield found
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(found))
        draft.rename(path)


def tag_of(path: str) -> int:
    return real().project_of(path) if STATE.get("real") else own_tag(path)[0]


def own_tag(path: str) -> tuple[int, int]:
    """The id of an inode, and since when (nanoseconds): what is made later below inherits it."""
    try:
        project, since = os.getxattr(path, TAG, follow_symlinks=False).split(b":")
    except OSError:
        return 0, 0
    return int(project), int(since)


def real() -> ModuleType:
    """Project quota of the file system below, which then enforces it."""
    sys.path.append(os.path.dirname(os.path.realpath(__file__)))
    return import_module("real_projects")  # needed in the user-mode kernel only


def counts(project: int) -> tuple[int, int]:
    """KiB and inodes of a project, by a walk."""
    used = inodes = 0
    tags = {os.path.dirname(STATE["mount"]): (0, 0), STATE["mount"]: own_tag(STATE["mount"])}
    for here, names, files in os.walk(STATE["mount"]):
        parent, since = tags[here]
        for name in [*names, *files]:
            path = os.path.join(here, name)
            with suppress(OSError):
                status = os.lstat(path)
                found = own_tag(path)
                if not found[0] and parent and status.st_ctime_ns >= since:
                    found = (parent, since)
                if name in names:
                    tags[path] = found
                if found[0] == project:
                    inodes += 1
                    used += 4 if name in names else -(-status.st_size // 4096) * 4
            tags.setdefault(path, (0, 0))
    return used, inodes


def quota(words: list[str]) -> int:
    if words == ["--help"]:
        more = " [--delimiter DELIMITER]" if STATE.get("delimiter") else ""
        raise Stop(1, USAGE.format(f"quota [-q] [-v]{more} -p PROJID MOUNT_POINT"))
    found, rest = options(words, "qv", "p")
    place = mounted("quota", rest)
    if "p" not in found:
        raise Stop(1, USAGE.format("quota"))
    project = number(found["p"])
    if not STATE.get("projects", True):
        raise Stop(3, "project quotas are not enabled.")
    if STATE.get("real"):
        used, hard, inodes = real().usage(str(place), project)
        soft = inode_soft = inode_hard = 0
    else:
        with limits() as known:
            soft, hard, inode_soft, inode_hard = known.get(str(project), [0, 0, 0, 0])
        used, inodes = (0, 0) if STATE.get("lag") else counts(project)
    over = "*" if hard and used > hard else ""
    show = "[{}]" if STATE.get("unanswered") else "{}"
    cells = [f"{show.format(used)}{over}", soft, hard, "-"]
    cells += [show.format(inodes), inode_soft, inode_hard, "-"]
    if "q" not in found:
        say(f"Disk quotas for prj {project} (pid {project}):")
        head = "bquota blimit bgrace" if STATE.get("delimiter") else "quota limit grace"
        say(f"      Filesystem  kbytes  {head}   files   {head}")
    row([str(cell) for cell in cells], str(rest[0]), found.get("delimiter"))
    if STATE.get("fault") == "default":
        say(f"pid {project} is using default block quota setting")
        say(f"pid {project} is using default file quota setting")
    if STATE.get("unanswered"):
        say(INCOMPLETE)
        return 5
    return 0


def row(cells: list[str], place: str, delimiter: str | None) -> None:
    if STATE.get("fault") == "garbage":
        say("what?")
    elif delimiter is not None:
        say(f"{place:>16}{delimiter}" + delimiter.join(f"{cell:>7}" for cell in cells))
    elif len(place) > NAME_MAX:
        say(place)
        say(" " * 16 + " ".join(f"{cell:>7}" for cell in cells))
    else:
        say(f"{place:>16} " + " ".join(f"{cell:>7}" for cell in cells))


def setquota(words: list[str]) -> int:
    found, rest = options(words, "", "pbBiI")
    place = mounted("setquota", rest)
    if "p" not in found or not set(found) & set("bBiI"):
        raise Stop(1, USAGE.format("setquota"))
    project = number(found["p"])
    if project == 0:
        raise Stop(1, "setquota: can't set quota for project id 0")
    if STATE.get("real"):
        real().limit(str(place), project, number(found.get("B", "0")))
        return 0
    with limits() as known:
        held = known.get(str(project), [0, 0, 0, 0])
        for at, letter in enumerate("bBiI"):
            held[at] = number(found[letter]) if letter in found else held[at]
        known[str(project)] = held
    return 0


def project(words: list[str]) -> int:
    found, rest = options(words, "dsrCk", "p")
    if not rest:
        raise Stop(1, USAGE.format("project"))
    for path in rest:
        if os.path.islink(path) or not os.path.exists(path):
            raise Stop(2, f"lfs: failed to stat '{path}': No such file or directory")
        if not str(os.path.realpath(path)).startswith(os.path.realpath(STATE["mount"])):
            raise Stop(95, f"failed to get xattr for '{path}': Operation not supported")
        if set(found) == {"d"}:
            say(f"{tag_of(path):>5} {'P' if tag_of(path) else '-'} {path}")
        elif "p" in found and "s" in found:
            tag(path, number(found["p"]), recursive="r" in found)
        elif "C" in found:
            tag(path, 0, recursive="r" in found)
        else:
            raise Stop(1, USAGE.format("project"))
    return 0


def tag(path: str, project: int, *, recursive: bool) -> None:
    if STATE.get("real"):
        real().tag(path, project)
    elif project:
        os.setxattr(path, TAG, f"{project}:{time.time_ns()}".encode())
    else:
        with suppress(OSError):
            os.removexattr(path, TAG)
    if recursive and os.path.isdir(path):
        if STATE.get("slow_tree"):
            time.sleep(60)
        for name in os.listdir(path):
            below = os.path.join(path, name)
            if not os.path.islink(below):
                tag(below, project, recursive=True)


def df(words: list[str]) -> int:
    _, rest = options(words, "", "")
    place = mounted("df", rest)
    say("UUID                   1K-blocks        Used   Available Use% Mounted on")
    say(f"lustre-MDT0000_UUID      1000000      100000      900000  10% {place}[MDT:0]")
    for number_ in range(2):
        name = f"OST000{number_}"
        if name in STATE.get("away", []):
            say(f"{name}             : inactive device")
            continue
        say(f"lustre-{name}_UUID     52428800    10485760    41943040  20% {place}[OST:{number_}]")
    alive = 2 - len(STATE.get("away", []))
    total, used, left = (n * alive for n in (52428800, 10485760, 41943040))
    say("")
    say(f"filesystem_summary:    {total}    {used}    {left}  20% {place}")
    return 0


def chance(number_: int) -> str:
    """The fault of the call of this number, or "" for none."""
    turn = random.Random(f"{STATE['seed']} {number_}")
    return turn.choice(BY_CHANCE) if turn.random() < STATE["rate"] else ""


def suffering(command: str, words: list[str], fault: str) -> int:
    """A call that fails in one of the ways of chance."""
    if fault == "refused":
        raise Stop(5, f"lfs {command}: Input/output error")
    if fault == "busy":
        raise Stop(16, f"lfs {command}: Device or resource busy")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    output, sys.stdout = sys.stdout, io.StringIO()
    status = COMMANDS[command](words)
    text, sys.stdout = sys.stdout.getvalue(), output
    if fault == "lost":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdout.write(text[: len(text) // 2])
    return status


COMMANDS = {"quota": quota, "setquota": setquota, "project": project, "df": df}


def main() -> int:
    command, *words = sys.argv[1:] or [""]
    call = json.dumps({"argv": sys.argv[1:], "locale": os.environ.get("LC_ALL")}) + "\n"
    with (HOME / "calls.jsonl").open("a") as calls:
        fault = chance(calls.tell()) if STATE.get("rate") and words != ["--help"] else ""
        calls.write(call)
    if command not in COMMANDS:
        raise Stop(1, USAGE.format("COMMAND"))
    if STATE.get("fault") == "hang" and words != ["--help"]:
        time.sleep(3600)
    if STATE.get("fault") == "denied" and command == "setquota":
        raise Stop(1, "setquota failed: Operation not permitted")
    if fault:
        return suffering(command, words, fault)
    return COMMANDS[command](words)


try:
    status = main()
except Stop as stop:
    sys.stderr.write(f"{stop}\n")
    status = stop.status
sys.exit(status)
