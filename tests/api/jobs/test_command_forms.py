"""The command `vfolder` for people: forms of output, ids cut short, moments, completion, Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import yaml

from api.cli.moments import Moment
from tests.api.jobs.conftest import Site
from tests.api.jobs.test_command_line import Shell
from tests.support.doors import SECRET
from tests.support.node import ROOT, wait_for
from tests.support.terminal import terminal

PYTHON_WORDS = re.compile(r"\b(None|True|False|datetime|dict|UUID)\b|[{}\[\]]")


@pytest.fixture
def shell(site: Site) -> Shell:
    return Shell(site)


def ended(site: Site, **more: str) -> str:
    job = site.begun("usage", vfolder=site.folder(a="1"), **more)
    site.ended(job)
    return job


def on_a_terminal(shell: Shell, *words: str, columns: int = 80) -> str:
    """What a terminal of this width gets."""
    environ = shell.environ | {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"}
    command = [sys.executable, "-m", "api.cli", *words]
    with terminal() as made:
        output = made.descriptor
        subprocess.run(command, cwd=ROOT, env=environ, stdout=output, check=True, timeout=120)
    return made.text


def test_ids_never_wrap_and_tables_have_headers(shell: Shell) -> None:
    label = f"wrap-{uuid4()}"
    job = ended(shell.site, label=label)
    for form in ((), ("-o", "wide")):
        shown = on_a_terminal(shell, "jobs", "list", "--label", label, *form, columns=40)
        assert shown.split()[:3] == ["id", "verb", "state"]
        assert job in shown
    wide = on_a_terminal(shell, "jobs", "list", "--label", label, "-o", "wide", columns=40)
    assert "requester" in wide
    assert "node1" in wide


def test_the_forms_of_output(shell: Shell) -> None:
    label = f"form-{uuid4()}"
    job = ended(shell.site, label=label)
    words = ("jobs", "list", "--label", label)
    (page,) = shell.json(*words)
    assert yaml.safe_load(shell(*words, "-o", "yaml").stdout) == page
    assert shell(*words, "-o", "json").stdout == shell(*words, "--json").stdout
    table = shell(*words, "-o", "table").stdout
    assert table.splitlines()[0].split()[:3] == ["id", "verb", "state"]
    assert shell(*words).stdout.startswith(f"{job}\t")
    shell(*words, "-o", "xml", exit_code=2)


def test_options_of_the_door_go_before_and_after_the_command(shell: Shell) -> None:
    bare = {"PATH": os.environ["PATH"], "VFOLDER_CONFIG": "/nowhere"}
    secret = shell.site.settings.directory / "secret"
    secret.write_text(SECRET)
    door = ("--url", shell.site.door.url, "--secret-file", str(secret))
    for words in (
        (*door, "nodes", "list"),
        ("nodes", *door, "list"),
        ("nodes", "list", *door),
        (*door, "nodes"),
        ("nodes", *door),
        ("--url", "http://127.0.0.1:1", "nodes", "list", *door),
    ):
        assert "node1" in shell(*words, environ=bare).stdout, words
    assert shell(*door, "--json", "nodes", environ=bare).stdout.startswith("{")


def test_the_beginning_of_an_id_is_enough(shell: Shell) -> None:
    job = ended(shell.site)
    assert f"id: {job}" in shell("jobs", "show", job[:-2]).stdout
    assert f"id: {job}" in shell("jobs", "show", job[:-2].upper()).stdout
    ended(shell.site)
    several = shell("jobs", "show", job[:4], exit_code=1).stderr
    assert "Several jobs" in several
    assert "give more of the id" in several
    none = shell("jobs", "show", "ffffffff-ffff", exit_code=1).stderr
    assert "No job has an id that begins with ffffffff-ffff" in none
    assert "not the id of a job" in shell("jobs", "show", "01", exit_code=1).stderr


def test_since(shell: Shell) -> None:
    label = f"since-{uuid4()}"
    job = ended(shell.site, label=label)
    for since in ("1h", "yesterday", "2020-01-02", "2020-01-02T03:04:05Z"):
        assert job in shell("jobs", "list", "--label", label, "--since", since).stdout
    later = shell("jobs", "list", "--label", label, "--since", "2999-01-01")
    assert later.stdout == ""
    assert "No job matches." in later.stderr
    assert "is no moment" in shell("jobs", "list", "--since", "soon", exit_code=2).stderr


@pytest.mark.parametrize(
    ("text", "ago"),
    [("90s", 90), ("30m", 1800), ("1h", 3600), ("2 d", 2 * 86400), ("1W", 7 * 86400)],
)
def test_so_long_ago(text: str, ago: int) -> None:
    before = datetime.now(UTC) - timedelta(seconds=ago)
    found = datetime.fromisoformat(Moment().convert(text, None, None))
    assert abs(found - before) < timedelta(seconds=60)


def test_local_dates() -> None:
    local = datetime(2026, 11, 29).astimezone()
    found = datetime.fromisoformat(Moment().convert("2026-11-29", None, None))
    assert found == local
    at = datetime.fromisoformat(Moment().convert("2026-11-29 08:30", None, None))
    assert at == local.replace(hour=8, minute=30)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion(shell: Shell, name: str) -> None:
    script = shell("completion", name).stdout
    assert "_VFOLDER_COMPLETE" in script
    words = {"COMP_WORDS": "vfolder jobs list --state su", "COMP_CWORD": "4"}
    asked = shell.environ | {"_VFOLDER_COMPLETE": f"{name}_complete"} | words
    if name == "fish":
        asked |= {"COMP_CWORD": "su", "COMP_WORDS": "vfolder jobs list --state "}
    program = [
        sys.executable,
        "-c",
        "from api.cli import main; main(prog_name='vfolder')",
    ]
    done = subprocess.run(
        program, cwd=ROOT, env=asked, capture_output=True, text=True, check=False, timeout=60
    )
    assert "succeeded" in done.stdout, done.stderr


def test_no_words_of_python(shell: Shell) -> None:
    vfid = shell.site.folder(a="1" * 5000)
    job = shell.site.begun("delete-files", vfolder=vfid, paths=["a", "b"], recursive=True)
    shell.site.ended(job)
    count = shell.site.begun("usage", vfolder=vfid)
    shell.site.ended(count)
    for words in (
        ("jobs", "show", job),
        ("jobs", "show", count),
        ("jobs", "list", "-o", "wide"),
        ("nodes",),
        ("volumes",),
        ("volumes", "bandwidth", "local", "-o", "table"),
        ("volumes", "purge-rate", "local", "-o", "table"),
    ):
        said = shell(*words).stdout
        assert not PYTHON_WORDS.search(said), (words, said)
    shown = shell("jobs", "show", job).stdout
    assert "request.paths: a, b" in shown
    assert "request.recursive: yes" in shown


def test_sizes_have_units(shell: Shell) -> None:
    vfid = shell.site.folder(a="1" * 5000)
    job = shell.site.begun("usage", vfolder=vfid)
    shell.site.ended(job)
    assert "result.used_bytes: 4.9 KiB (5,000 bytes)" in shell("jobs", "show", job).stdout
    shell("volumes", "bandwidth", "local", "1g")
    assert "1.0 GiB/s" in shell("volumes", "bandwidth", "local", "-o", "table").stdout
    shell("volumes", "bandwidth", "local", "none")


def test_an_empty_list_says_what_is_empty(shell: Shell) -> None:
    vfid = shell.site.folder(a="1")
    assert "No job matches." in shell("jobs", "list", "--label", "none").stderr
    scope = vfid.partition("/")[0]
    shown = shell("trash", "list", "local", scope)
    assert (shown.stdout, shown.stderr) == ("", f"The trash of {scope} on local is empty.\n")


def test_hints_fit_the_error(shell: Shell) -> None:
    for words, hint in (
        (("jobs", "show", str(uuid4())), "vfolder jobs list"),
        (("node", "drain", "nowhere"), "vfolder nodes"),
    ):
        said = shell(*words, exit_code=1).stderr
        assert f"`{hint}`" in said
        assert said.count("Next: ") == 1
    absent = f"user:{uuid4()}/{uuid4().hex}"
    submit = ("jobs", "submit", "usage", "volume=local", f"vfolder={absent}")
    assert "vfolder nodes" not in shell(*submit, exit_code=1).stderr


def test_ctrl_c_in_a_watch_says_that_the_job_goes_on(shell: Shell, at_rest: Site) -> None:
    job = at_rest.begun("usage", vfolder=at_rest.folder(a="1"), label=f"cli-{uuid4()}")
    log = shell.site.settings.directory / "watched"
    with log.open("wb") as output:
        watching = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "jobs", "watch", job],
            cwd=ROOT,
            env=shell.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a shell's `&` ignores it
        )
    wait_for(lambda: log.read_text().startswith("queued"))
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=120)
    assert watching.returncode == 130
    assert f"The job goes on. `vfolder jobs watch {job}`" in said
    assert "Traceback" not in said
    assert not at_rest.get(job)["done"]
    shell("jobs", "cancel", job)
