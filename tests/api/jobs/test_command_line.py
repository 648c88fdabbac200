"""The command `vfolder` as people run it: a process, against the real door."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from core.settings import CONFIG_VARIABLE
from tests.api.jobs.conftest import Site
from tests.support import preloaded
from tests.support.doors import SECRET
from tests.support.node import ROOT, wait_for
from tests.support.terminal import terminal

Done = subprocess.CompletedProcess[str]


class Shell:
    """Runs the command with the site's configuration."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.environ = os.environ | {CONFIG_VARIABLE: site.settings.origin}

    def __call__(
        self, *words: str, exit_code: int = 0, environ: dict[str, str] | None = None
    ) -> Done:
        given = self.environ if environ is None else environ
        done = preloaded.run(["api.cli", *words], given, 120)
        assert done.returncode == exit_code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done

    def json(self, *words: str, exit_code: int = 0) -> list[dict[str, object]]:
        done = self(*words, "--json", exit_code=exit_code)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def shell(site: Site) -> Shell:
    return Shell(site)


@pytest.fixture
def waiting(at_rest: Site) -> str:
    """A job that waits because its volume is at rest."""
    return at_rest.begun("usage", vfolder=at_rest.folder(a="1"), label=f"cli-{uuid4()}")


def test_ask_follow_and_look(shell: Shell) -> None:
    vfid = shell.site.folder(a="12345")
    done = shell("jobs", "submit", "usage", "volume=local", f"vfolder={vfid}", "--watch")
    first, *_, last = done.stdout.splitlines()
    job = first.split("\t")[0]
    assert last.startswith("succeeded: counted 1 entry, 5 B in ")
    shown = shell("jobs", "show", job).stdout
    assert f"id: {job}" in shown
    assert "result.used_bytes: 5" in shown
    (document,) = shell.json("jobs", "show", job)
    assert document == shell.site.get(job)
    assert job in shell("jobs", "list", "--vfolder", vfid).stdout
    (page,) = shell.json("jobs", "list", "--vfolder", vfid, "--state", "succeeded")
    assert [found["id"] for found in page["jobs"]] == [job]  # type: ignore[index] # JSON
    assert shell("jobs", "list", "--vfolder", vfid, "--state", "failed").stdout == ""


def test_watch_tells_how_it_ended(shell: Shell, waiting: str) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "jobs", "watch", waiting],
        cwd=ROOT,
        env=shell.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    shell("jobs", "cancel", waiting)
    out, _ = watching.communicate(timeout=120)
    assert watching.returncode == 4
    assert out.splitlines()[-1].startswith("cancelled")
    assert shell.json("jobs", "watch", waiting, exit_code=4)[-1]["state"] == "cancelled"


def test_a_failed_and_a_partial_job(shell: Shell) -> None:
    source, target = shell.site.folder(a="1"), f"user:{uuid4()}/{uuid4().hex}"
    words = ("jobs", "submit", "clone", "volume=local", f"source={source}", f"target={target}")
    assert "method:" in shell(*words, "--plan").stdout
    shell(*words, "--watch")
    refused = shell(*words, "--plan", exit_code=1)
    assert "refused:" in refused.stdout
    again = shell(*words, exit_code=1)
    assert "already exists" in again.stderr
    job = shell("jobs", "list", "--vfolder", target).stdout.split("\t")[0]
    shell.site.redis.hset(f"vf:job:{job}", "state", "failed")
    shell("jobs", "watch", job, exit_code=1)
    shell.site.redis.hset(f"vf:job:{job}", "state", "partial")
    shell("jobs", "watch", job, exit_code=3)
    shell.site.redis.hset(f"vf:job:{job}", "state", "succeeded")


def test_rest_and_go_on(shell: Shell, waiting: str) -> None:
    assert "\tpaused" in shell("jobs", "pause", waiting).stdout
    assert shell.site.get(waiting)["paused"]
    shell("jobs", "resume", waiting)
    assert not shell.site.get(waiting)["paused"]
    shell("jobs", "cancel", waiting)
    refused = shell("jobs", "retry", waiting, "--only-failed", exit_code=1)
    assert "retried completely" in refused.stderr
    again = shell("jobs", "retry", waiting).stdout.split("\t")[0]
    assert shell.site.get(again)["retry_of"] == waiting
    assert "summary" in shell("jobs", "report", waiting).stdout
    assert shell("jobs", "report", waiting, "--format", "csv").stdout.startswith("path,reason")


def test_nodes_and_volumes(shell: Shell) -> None:
    alive, serves = ["node1", "alive"], ["local", "vfs", "run", "node1"]
    # A worker that was silent for some seconds is lost, until it tells again.
    wait_for(lambda: shell("nodes").stdout.split("\t")[:2] == alive)
    assert shell("nodes", "list").stdout.split("\t")[0] == "node1"
    wait_for(lambda: shell("volumes").stdout.split("\t")[:4] == serves)
    shell("volumes", "pause", "local")
    assert "paused" in shell("volumes").stdout
    shell("volumes", "resume", "local")
    assert shell("volumes", "bandwidth", "local").stdout == "local\tnone\tnone\tnone\n"
    assert shell("volumes", "bandwidth", "local", "1g").stdout.startswith(f"local\t{1 << 30}\t")
    assert "is not a size" in shell("volumes", "bandwidth", "local", "fast", exit_code=2).stderr
    shell("volumes", "bandwidth", "local", "0", exit_code=2)
    shown = shell("volumes", "bandwidth", "local", "none", "--json").stdout
    assert json.loads(shown)["bytes_per_second"] is None
    row = ["local", "none", "none", "0", "unknown", "unknown"]
    assert shell("volumes", "purge-rate", "local").stdout.rstrip("\n").split("\t") == row
    assert shell("volumes", "purge-rate", "local", "500").stdout.startswith("local\t500\tnone\t")
    for word in ("0", "fast", "1.5", "²"):
        wrong = shell("volumes", "purge-rate", "local", word, exit_code=2)
        assert "is not a number of entries" in wrong.stderr
    shown = shell("volumes", "purge-rate", "local", "none", "--json").stdout
    assert json.loads(shown)["entries_per_second"] is None
    shell("node", "drain", "node1")
    assert "draining" in shell("nodes").stdout
    shell("node", "undrain", "node1")
    wait_for(lambda: "draining" not in shell("nodes").stdout)
    assert "No node" in shell("node", "drain", "nowhere", exit_code=1).stderr
    assert "No volume" in shell("volumes", "pause", "nowhere", exit_code=2).stderr


#: Arguments, exit status and a part of the error.
ERRORS = [
    (["jobs", "show", "nothing"], 1, "vfolder jobs list"),
    (["jobs", "show", "../nodes"], 1, "not the id of a job"),
    (["jobs", "list", "--state", "pending"], 2, "/state"),
    (["jobs", "submit", "usage", "volume=local", "vfolder=x"], 2, "/vfolder"),
    (["jobs", "submit", "fly"], 2, "/verb"),
    (["jobs", "submit", "usage", "volume"], 2, "name=text"),
    (["jobs", "submit", "usage", "a:=x"], 2, "not JSON"),
    (["jobs", "submit", "usage", "a=1", "a=2"], 2, "given twice"),
    (["jobs", "fly"], 2, "No such command"),
    (["nodes", "list", "--url", "http://127.0.0.1:1"], 1, "vfolder up"),
    (["nodes", "list", "--url", "nonsense"], 2, "http://host:port"),
    (["nodes", "list", "--secret-file", "/nowhere"], 2, "does not exist"),
]


def test_errors_say_what_to_do(shell: Shell) -> None:
    wrong = []
    for arguments, exit_code, part in ERRORS:
        answer = shell(*arguments, exit_code=exit_code).stderr
        if part not in answer:
            wrong.append(f"{arguments}: {answer}")
    assert not wrong, "\n".join(wrong)


def test_each_wrong_field_has_its_own_line(shell: Shell) -> None:
    printed = shell("jobs", "submit", "clone", "volume=local", exit_code=2).stderr
    lines = printed.splitlines()
    assert sum(line.startswith("  /source: ") for line in lines) == 1
    assert sum(line.startswith("  /target: ") for line in lines) == 1
    assert "\\n" not in printed


def test_without_a_configuration(shell: Shell, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    given = {"VFOLDER_URL": shell.site.door.url, "VFOLDER_SECRET_FILE": str(secret)}
    assert "node1" in shell("nodes", environ=bare | given).stdout
    secret.write_text("wrong")
    refused = shell("nodes", environ=bare | given, exit_code=1)
    assert "--secret-file" in refused.stderr


def test_on_a_terminal(shell: Shell) -> None:
    job = shell.site.begun("usage", vfolder=shell.site.folder(a="1"), label="\x1b[31mred\n")
    words = [sys.executable, "-m", "api.cli", "jobs"]
    with terminal() as made:
        for more in (["watch", job], ["list", "--label", "\x1b[31mred\n"], ["show", job]):
            environ = shell.environ | {"TERM": "xterm", "COLUMNS": "200"}
            command = [*words, *more]
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=made.descriptor)
            assert process.wait(120) == 0
    seen = made.seen
    assert b"succeeded" in seen
    assert b"\\x1b[31mred\\n" in seen
    assert b"\x1b[31mred" not in seen


def test_what_the_trash_keeps_is_listed_and_brought_back(shell: Shell, site: Site) -> None:
    vfid = site.folder(a="alpha")
    words = ("jobs", "submit", "--watch")
    shell(*words, "delete", "volume=local", f"vfolder={vfid}", "keep_seconds:=600")
    scope = vfid.partition("/")[0]
    kept = shell.json("trash", "list", "local", scope)[0]["trash"]
    assert isinstance(kept, list)
    assert [note["vfolder"] for note in kept] == [vfid]
    table = shell("trash", "list", "local", scope).stdout
    assert vfid in table
    assert kept[0]["id"] in table
    shell(*words, "restore", "volume=local", f"vfolder={vfid}")
    assert (site.path(vfid) / "a").read_text() == "alpha"
    shell("trash", "list", "local", "noscope", exit_code=2)
