#!/usr/bin/env python3
"""A stand-in for NetApp's XCP: really scans, copies, verifies and deletes, in real directories.

Written from the vendor's guides, not from our client. It is strict: unknown commands and options
get the usage text. Everything is in `$STANDIN_DIR`:

    state.json    exports {"host:/export": "/real/dir"}, catalog ("host:/export" or null), license
                  (active, missing, inactive, expired, unreadable), profile (old, new), rc_mode
                  (honest, always0), progress_every (files)
    faults.json   what goes wrong, see `Faults`; `times` counts down with each call that obeys it
    calls.jsonl   every call: argv, euid, whether stdin is a terminal, LC_ALL, pid
"""

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOME = Path(os.environ["STANDIN_DIR"])
TAKES_VALUE = {
    "-id", "-newid", "-match", "-exclude", "-fmt", "-depth", "-dircount", "-bs", "-parallel",
    "-nodes", "-loglevel",
}  # fmt: skip
FLAGS = {
    "-noId", "-l", "-q", "-stats", "-csv", "-html", "-du", "-duk", "-preserve-atime", "-md5",
    "-nonames", "-subdir-names", "-force", "-removetopdir",
}  # fmt: skip
COMMANDS = {
    "activate", "license", "scan", "copy", "resume", "sync", "verify", "delete", "show", "info",
    "help",
}  # fmt: skip
USAGE = "usage: xcp [-version | command [options] args]\nsee xcp help\n"


class Stop(Exception):
    """Ends the run with a complaint."""


def load(name: str, default: dict[str, Any]) -> Any:
    path = HOME / name
    return json.loads(path.read_text()) if path.exists() else default


STATE = load("state.json", {})


class Faults:
    """What goes wrong in one run, by name; the tests say what each is."""

    def __init__(self, command: str) -> None:
        with (HOME / "faults.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = load("faults.json", {})
            if found.get("command") not in (None, command) or found.get("times", 1) < 1:
                found = {}
            elif "times" in found:
                rest = found | {"times": found["times"] - 1}
                (HOME / "faults.json").write_text(json.dumps(rest))
        self.get = found.get


class Output:
    def __init__(self, faults: Faults) -> None:
        self._end = "\r\n" if faults.get("crlf") else "\n"

    def say(self, text: str = "") -> None:
        sys.stdout.write(text + self._end)
        sys.stdout.flush()

    def complain(self, text: str) -> None:
        sys.stderr.write(f"xcp: ERROR: {text}{self._end}")
        sys.stderr.flush()


def count_text(number: int) -> str:
    return f"{number / 1e6:.2f}M" if number >= 1_000_000 else f"{number:,}"


def size_text(size: int) -> str:
    for unit in ("", "Ki", "Mi", "Gi"):
        if size < 1024 or unit == "Gi":
            return f"{size:.3g} {unit}B" if unit else f"{size} B"
        size /= 1024  # type: ignore[assignment]
    raise AssertionError


def time_text(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


class Run:
    def __init__(self, command: str, options: dict[str, Any], words: list[str]) -> None:
        self.command, self.options, self.words = command, options, words
        self.faults = Faults(command)
        self.out = Output(self.faults)
        self.scanned = self.copied = self.errors = self.different = self.removed = 0
        self.size = 0
        self.began = time.monotonic()

    # -- the outside
    def real(self, path: str) -> Path:
        """The directory behind host:/export/path, with `::` for a colon."""
        host, colon, rest = path.partition(":")
        if not colon or not rest.startswith("/"):
            raise Stop(f"invalid path '{path}'")
        rest = rest.replace("::", ":")
        for export, top in sorted(STATE["exports"].items(), key=lambda e: -len(e[0])):
            export_host, _, export_path = export.partition(":")
            below = rest.removeprefix(export_path)
            if host == export_host and rest.startswith(export_path) and below[:1] in ("", "/"):
                return Path(top) / below.lstrip("/")
        raise Stop("mnt3 error 13: permission denied")

    def catalog(self) -> Path:
        if not STATE.get("catalog"):
            raise Stop("Catalog inaccessible: Cannot mount nfs_server:/export[:subdirectory]")
        return self.real(STATE["catalog"]) / "catalog" / "indexes"

    def licensed(self) -> None:
        text = {
            "missing": "License file /opt/NetApp/xFiles/xcp/license not found.",
            "inactive": "XCP not activated, run 'activate' first",
            "expired": "This license has expired",
            "unreadable": "License unreadable",
        }.get(STATE.get("license", "active"))
        if text:
            raise Stop(text)

    # -- the walk
    def entries(self, top: Path) -> Iterator[Path]:
        for directory, names, files in os.walk(top):
            names.sort()
            yield Path(directory)
            for name in sorted(files) + [n for n in names if (Path(directory) / n).is_symlink()]:
                yield Path(directory) / name

    def seen(self, path: Path) -> bool:
        """Count an entry, and let happen what is to happen there; False when it fails."""
        self.scanned += 1
        every = STATE.get("progress_every", 100)
        if self.scanned % every == 0:
            self.progress()
        get = self.faults.get
        if get("sigkill_after") and self.scanned >= get("sigkill_after"):
            if get("lose_index"):
                for index in self.catalog().glob("*/index"):
                    index.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if get("child_killed_after") and self.scanned >= get("child_killed_after"):
            raise Stop("batch 3: child process failed (exit code -9)")
        if get("gone") and self.scanned >= get("gone"):
            raise Stop("Catalog inaccessible: Cannot mount nfs_server:/export[:subdirectory]")
        if get("full_after") and self.scanned >= get("full_after"):
            raise Stop(f"nfs3 error {get('nfs_error', 28)}: no space left on device")
        if path.name in get("errors", []):
            self.errors += 1
            self.out.complain(f"nfs3 error 5: {path.name!r}: input/output error")
            return False
        return True

    def progress(self) -> None:
        spent = max(time.monotonic() - self.began, 0.001)
        rate = size_text(int(self.size / spent))
        self.out.say(
            f" {count_text(self.scanned)} scanned, {count_text(self.copied)} copied, "
            f"{size_text(self.size)} in ({rate}/s), {size_text(self.size)} out ({rate}/s), "
            f"{time_text(spent)}"
        )
        if pause := self.faults.get("hang"):
            time.sleep(pause)

    # -- commands
    def do_scan(self) -> None:
        if "-noId" not in self.options:
            self.index("autoname_scan", fresh=True)
        for path in self.entries(self.existing(self.words[0])):
            self.seen(path)

    def existing(self, name: str) -> Path:
        path = self.real(name)
        if not path.is_dir():
            raise Stop("nfs3 error 2: no such file or directory")
        return path

    def index(self, automatic: str, *, fresh: bool) -> Path:
        name = self.options.get("-newid") or self.options.get("-id")
        if name is None:
            name = f"{automatic}_2026-01-01_00.00.00.000000"
            self.out.say(
                "xcp: WARNING: No index name has been specified, creating one with name: " + name
            )
        path = self.catalog() / name
        if fresh:
            path.mkdir(parents=True, exist_ok=True)
        elif not (path / "index").exists():
            raise Stop("Empty or invalid index")
        return path

    def do_copy(self) -> None:
        source, target = self.existing(self.words[0]), self.real(self.words[1])
        index = self.index("autoname_copy", fresh=True)
        (index / "index").write_text(json.dumps(self.words))
        self.bring(source, target)

    def do_resume(self) -> None:
        index = self.index("", fresh=False)
        source, target = json.loads((index / "index").read_text())
        self.bring(self.existing(source), self.real(target))

    do_sync = do_resume

    def bring(self, source: Path, target: Path) -> None:
        inodes: dict[tuple[int, int], Path] = {}
        directories = []
        for path in self.entries(source):
            there = target / path.relative_to(source)
            if not self.seen(path):
                continue
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                there.mkdir(parents=True, exist_ok=True)
                directories.append((path, there))
                continue
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                continue
            first = inodes.setdefault((status.st_dev, status.st_ino), there)
            if there.is_symlink() or there.exists():
                old = there.lstat()
                if (old.st_size, old.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
                    continue
                there.unlink()
            if first != there and first.exists():
                os.link(first, there, follow_symlinks=False)
            else:
                shutil.copy2(path, there, follow_symlinks=False)
                os.chown(there, status.st_uid, status.st_gid, follow_symlinks=False)
            self.copied += 1
            self.size += status.st_size
        for path, there in reversed(directories):
            status = path.stat()
            os.chown(there, status.st_uid, status.st_gid)
            shutil.copystat(path, there)

    def do_verify(self) -> None:
        source, target = self.existing(self.words[0]), self.existing(self.words[1])
        if "-noId" not in self.options:
            self.index("autoname_verify", fresh=True)
        for path in self.entries(source):
            there = target / path.relative_to(source)
            if not self.seen(path) or path.is_dir():
                continue
            same = there.is_symlink() == path.is_symlink() and (
                os.readlink(path) == os.readlink(there)
                if path.is_symlink()
                else there.is_file() and there.read_bytes() == path.read_bytes()
            )
            if not same:
                self.different += 1
                self.out.say(f"{path.relative_to(source)}: data is different")

    def do_delete(self) -> None:
        if "-force" not in self.options:
            sys.stdout.write("Are you sure you want to delete (yes/no):")
            if sys.stdin.readline().strip() != "yes":
                raise Stop("not deleted")
        top = self.existing(self.words[0])
        for name in os.listdir(top):
            path = top / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            self.removed += 1
        if "-removetopdir" in self.options:
            top.rmdir()

    # -- the end
    def block(self) -> None:
        failed = bool(self.errors or self.different)
        stats = f"{count_text(self.scanned)} scanned, 0 matched, {count_text(self.copied)} copied"
        if self.command == "verify":
            stats = (
                f"{count_text(self.scanned)} scanned, 0 matched, 100% found (3 have data), 100% "
                f"verified (data, attrs, mods), {self.different} different item"
            )
        elif self.command == "delete":
            stats = f"{self.scanned} scanned, {self.removed} removes, 0 rmdirs"
        if STATE.get("profile", "old") == "old":
            stats = f"{stats}, {self.errors} error"
        else:
            stats = f"Stats : {stats}, {count_text(self.scanned)} indexed" + (
                f", {self.errors} error" if self.errors else ""
            )
        spent = time.monotonic() - self.began
        blank = " " if STATE.get("profile", "old") == "old" else ""
        self.out.say("")
        self.out.say(f"Xcp command : xcp {self.command} {' '.join(self.words)}")
        self.out.say(stats)
        self.out.say(
            f"Speed : {size_text(self.size)} in ({size_text(self.size)}/s), "
            f"{size_text(self.size)} out ({size_text(self.size).replace(' ', blank)}/s)"
        )
        self.out.say(f"Total Time : {time_text(spent)}.")
        if STATE.get("profile", "old") == "new":
            self.out.say(f"Job ID: Job_2026-01-01_00.00.00.000000_{self.command}")
            self.out.say("Log Path : /opt/NetApp/xFiles/xcp/xcplogs/Job.log")
        word = self.faults.get("status", "FAILED" if failed else "PASSED")
        if word:
            self.out.say(f"STATUS : {word}")

    def oddities(self) -> None:
        get = self.faults.get
        if get("ignore_sigterm"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if get("garbage"):
            sys.stdout.buffer.write(b"\xff\xfe scanned, \x00 9 9 9,, copied\n")
            sys.stdout.flush()
        if get("huge_output"):
            sys.stderr.write("noise " * (get("huge_output") * 180_000) + "\n")
            sys.stderr.flush()
        if get("fork_child"):
            subprocess.Popen(["sleep", "300"], stdin=subprocess.DEVNULL)

    def __call__(self) -> int:
        self.oddities()
        try:
            self.licensed()
            getattr(self, f"do_{self.command}")()
        except Stop as stop:
            self.out.complain(str(stop))
            self.errors += 1
            if "child process" in str(stop) or "nfs3 error" in str(stop):
                self.block()
            return self.status(1)
        self.block()
        return self.status(1 if self.errors or self.different else 0)

    def status(self, honest: int) -> int:
        if self.faults.get("rc") is not None:
            return int(self.faults.get("rc"))
        return 0 if STATE.get("rc_mode", "honest") == "always0" else honest


def license_text(out: Output) -> int:
    kind = STATE.get("license", "active")
    if kind == "active":
        out.say('Licensed to "Tests, NetApp Inc" until Sun Mar 31 00:00:00 2199')
        for line in ("License type: SANDBOX", "License status: ACTIVE", "Customer name: N/A",
                     "Project number: N/A", "Offline Host: Yes"):  # fmt: skip
            out.say(line)
        return 0
    try:
        Run("license", {}, []).licensed()
    except Stop as stop:
        out.complain(str(stop))
    return 1


def note_call(argv: list[str]) -> None:
    call = {
        "argv": argv,
        "pid": os.getpid(),
        "euid": int(os.environ.get("STANDIN_EUID", "0")),
        "tty": sys.stdin.isatty(),
        "lc_all": os.environ.get("LC_ALL"),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
    }
    with (HOME / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(call) + "\n")


WORDS = {"scan": 1, "copy": 2, "resume": 0, "sync": 0, "verify": 2, "delete": 1, "license": 0}


def parse(argv: list[str]) -> tuple[str, dict[str, Any], list[str]] | None:
    if not argv or argv[0] not in COMMANDS:
        return None
    options: dict[str, str | bool] = {}
    words = []
    rest = list(argv[1:])
    while rest:
        word = rest.pop(0)
        if word in TAKES_VALUE and rest:
            options[word] = rest.pop(0)
        elif word in FLAGS:
            options[word] = True
        elif word.startswith("-"):
            return None
        else:
            words.append(word)
    if argv[0] == "license" and words == ["update"]:
        words = []
    return (argv[0], options, words) if len(words) == WORDS.get(argv[0], len(words)) else None


def main(argv: list[str]) -> int:
    note_call(argv)
    parsed = parse(argv)
    if parsed is None:
        sys.stderr.write(USAGE)
        return 2
    command, options, words = parsed
    if int(os.environ.get("STANDIN_EUID", "0")) != 0:
        sys.stderr.write("xcp: ERROR: must run as root\n")
        return 1
    if command == "license":
        return license_text(Output(Faults(command)))
    if command not in WORDS:
        sys.stdout.write(f"xcp {command}\n")
        return 0
    return Run(command, options, words)()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
