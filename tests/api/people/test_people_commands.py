"""People's commands against a real door, with a key alone: what they do, print and return."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from msgspec import structs

from api.cli import main
from core.names import QuotaScope, VFolderId
from tests.api.people.conftest import People, Person
from tests.support.node import ROOT, wait_for
from tests.support.terminal import terminal

Run = Callable[..., Result]


@pytest.fixture
def owner(people: People) -> Person:
    return people.person()


@pytest.fixture
def run(people: People, owner: Person, tmp_path: Path) -> Run:
    """Runs a command as the owner: `run("ls", "-l", status=0)`."""
    return runner_of(people, owner, tmp_path / "owner")


def runner_of(people: People, person: Person, home: Path) -> Run:
    home.mkdir()
    places = {name: str(home / name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}
    environ = {**places, "VFOLDER_KEY_FILE": None, "VFOLDER_CONTEXT": None}

    def run(*words: str, status: int | None = 0, **options: Any) -> Result:
        result = CliRunner().invoke(main, words, env=environ, **options)
        assert status in (None, result.exit_code), (words, result.output, result.exception)
        return result

    run("login", people.door.url, "--name", "test", "--key-stdin", input=f"{person.key}\n")
    return run


@pytest.fixture
def name(run: Run) -> str:
    """A vfolder of the owner."""
    found = f"corpus {uuid4().hex[:8]}"
    run("folder", "create", found, "--volume", "local")
    return found


def documents(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# -- Sign in ---------------------------------------------------------------------------------------
def test_login_keeps_the_key_for_its_owner(
    people: People, owner: Person, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "owner" / "XDG_CONFIG_HOME" / "vfolder" / "contexts.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert owner.key in path.read_text()
    for words in (("whoami",), ("context", "list"), ("context", "show"), ("whoami", "-o", "json")):
        shown = run(*words).output
        assert owner.key not in shown
    assert str(owner.id) in run("whoami").stdout
    assert documents(run("context", "list", "--json"))[0]["current"] is True
    run("login", people.door.url, "--key-stdin", input="vfk_wrong\n", status=5)
    assert owner.key in path.read_text(), "a login that fails changes nothing"
    run("login", "http://storage.example", "--key-stdin", input="k\n", status=2)
    run("logout")
    assert owner.key not in path.read_text()
    run("ls", status=2)


def test_logout_can_end_the_key(people: People, owner: Person, run: Run, tmp_path: Path) -> None:
    again = runner_of(people, owner, tmp_path / "again")
    run("logout", "--revoke")
    wait_for(lambda: again("whoami", status=None).exit_code == 5)


# -- Files -----------------------------------------------------------------------------------------
def test_sync_says_what_it_would_do_and_does_it(run: Run, name: str, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "a").write_text("a")
    run("mkdir", f"{name}:stale")
    up = ("sync", str(top), f"{name}:", "--delete")
    assert run(*up, "--dry-run").stdout == "copy\tnew\ta\ndelete\textra\tstale\n"
    dry = documents(run(*up, "--dry-run", "-o", "json"))
    assert dry[0] == {"action": "copy", "path": "a", "reason": "new", "size_bytes": 1}
    assert run(*up).stderr == "1 file, 1 B, 1 entry deleted\n"
    assert run("ls", f"{name}:").stdout == "a\n"
    down = ("sync", f"{name}:", str(tmp_path / "copy"), "-o", "json")
    assert [documents(run(*down))[0][key] for key in ("files", "deleted")] == [1, 0]
    (tmp_path / "copy" / "b").mkdir()
    run("rm", f"{name}:a")
    run("mkdir", f"{name}:a")
    assert "failed: a: the target has a file of this name" in run(*down, status=1).stderr
    run("sync", str(top), str(top), status=2)
    run("sync", f"{name}:absent", str(top), "--delete", status=6)
    assert os.listdir(top) == ["a"]


def test_sync_between_vfolders_is_a_job_of_the_service(run: Run, name: str, tmp_path: Path) -> None:
    other = f"{name} two"
    run("folder", "create", other, "--volume", "second")
    (tmp_path / "a").write_text("new")
    run("mkdir", f"{name}:d", f"{other}:to", f"{other}:to/extra")
    run("cp", str(tmp_path / "a"), f"{name}:d/")
    run("cp", str(tmp_path / "a"), f"{other}:to/")
    run("sync", f"{name}:d", f"{other}:to", "--delete")
    assert run("ls", f"{other}:to").stdout == "a\n"
    assert run("sync", f"{name}:d", f"{other}:to", "--json").stdout.count('"transfer"') >= 1
    run("sync", f"{name}:d", f"{name}:d/below", status=2)
    run("sync", f"{name}:d", f"{other}:to", "--dry-run", status=2)


def test_a_day_with_files(run: Run, name: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.txt").write_text("hello")
    (tree / "sub" / "b.txt").write_text("world!")
    (tree / "link").symlink_to("a.txt")
    sent = run("upload", str(tree), f"{name}:")
    assert "left out: tree/link: a symlink" in sent.stderr
    assert run("ls", f"{name}:tree").stdout.splitlines() == ["a.txt", "sub"]
    assert run("ls", "-R", f"{name}:").stdout.splitlines() == [
        "tree",
        "tree/a.txt",
        "tree/sub",
        "tree/sub/b.txt",
    ]
    row = run("ls", "-l", f"{name}:tree/a.txt").stdout.split("\t")
    assert (row[:2], row[3]) == (["file", "5"], "a.txt\n")
    assert [one["path"] for one in documents(run("ls", "-o", "json", f"{name}:tree"))] == [
        "tree/a.txt",
        "tree/sub",
    ]
    assert run("cat", f"{name}:tree/a.txt", f"{name}:tree/sub/b.txt").stdout == "helloworld!"
    assert run("cat", "--range", "1-2", f"{name}:tree/a.txt").stdout == "el"
    assert run("cat", "--tail", "2", f"{name}:tree/a.txt").stdout == "lo"
    assert run("du", f"{name}:").stdout.split("\t")[:2] == ["11", "2"]
    run("mkdir", f"{name}:tree", status=1)
    run("mkdir", "-p", f"{name}:x/y", f"{name}:tree")
    run("mv", f"{name}:tree/a.txt", f"{name}:x/y")
    run("cp", f"{name}:x/y/a.txt", f"{name}:x/copy.txt")
    run("cp", f"{name}:x/y/a.txt", str(tmp_path / "back.txt"))
    assert (tmp_path / "back.txt").read_text() == "hello"
    run("cp", f"{name}:x", str(tmp_path), status=2)
    run("cp", "-r", f"{name}:x", str(tmp_path))
    assert (tmp_path / "x" / "copy.txt").read_text() == "hello"
    run("cp", "-n", str(tmp_path / "back.txt"), f"{name}:x/copy.txt", status=1)
    run("rm", f"{name}:x", status=2)
    run("rm", f"{name}:absent", status=6)
    run("rm", "-f", f"{name}:absent")
    run("rm", "-r", f"{name}:x", f"{name}:tree/sub")
    assert run("ls", "-R", f"{name}:").stdout.splitlines() == ["tree"]


def test_copies_between_vfolders(run: Run, name: str, tmp_path: Path) -> None:
    run("folder", "create", f"{name} two", "--volume", "second")
    (tmp_path / "a").write_text("1")
    run("cp", str(tmp_path / "a"), f"{name}:d/", status=6)
    run("mkdir", f"{name}:d")
    run("cp", str(tmp_path / "a"), f"{name}:d/")
    run("cp", "-r", f"{name}:d", f"{name} two:")
    assert run("cat", f"{name} two:d/a").stdout == "1"
    run("cp", "-r", f"{name}:d", f"{name}:d/inside", status=2)


def test_moves_between_vfolders(people: People, run: Run, name: str, tmp_path: Path) -> None:
    other = f"{name} two"
    run("folder", "create", other, "--volume", "second")
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("22")
    run("mkdir", f"{name}:d", f"{name}:e")
    run("cp", str(tmp_path / "a"), f"{name}:d/")
    run("cp", str(tmp_path / "b"), f"{name}:e/b")
    moved = run("mv", f"{name}:d", f"{name}:e/b", f"{other}:")
    assert run("ls", "-R", f"{other}:").stdout.splitlines() == ["b", "d", "d/a"]
    assert run("ls", "-R", f"{name}:").stdout.splitlines() == ["e"]
    first = moved.stderr.partition("`vfolder undo ")[2].partition("`")[0]
    run("undo", first)
    assert run("ls", "-R", f"{name}:").stdout.splitlines() == ["d", "e", "d/a"]
    # Over a file that differs, only by force.
    run("cp", str(tmp_path / "b"), f"{name}:d/a")
    run("mv", f"{name}:d/a", f"{other}:d/a", status=1)
    run("mv", "-f", f"{name}:d/a", f"{other}:d/a")
    assert run("cat", f"{other}:d/a").stdout == "22"
    # A special file stays.
    (document,) = documents(run("stat", name, "-o", "json"))
    os.mkfifo(people.path(VFolderId.parse(document["scope"] + "/" + document["id"])) / "d/fifo")
    run("mv", f"{name}:d", f"{other}:d", status=3)
    job = run("mv", "--no-wait", f"{name}:e", f"{other}:").stdout.strip()
    run("jobs", "watch", job)
    assert run("ls", f"{name}:").stdout == "d\n"


def test_names_are_escaped_for_people_and_raw_for_programs(
    people: People, run: Run, name: str
) -> None:
    document = documents(run("stat", "-o", "json", name))[0]
    place = document["id"].replace("-", "")[4:]
    tree = next((people.settings.directory / "local").rglob(f"*{place}"))
    (tree / "evil\x1b[31m\nname").touch()
    assert run("ls", f"{name}:").stdout == "evil\\x1b[31m\\nname\n"
    assert run("ls", "-0", f"{name}:").stdout_bytes == b"evil\x1b[31m\nname\0"


def test_exit_statuses(people: People, run: Run, name: str, tmp_path: Path) -> None:
    guest = people.person()
    theirs = runner_of(people, guest, tmp_path / "guest")
    reference = documents(run("stat", "-o", "json", name))[0]["id"]
    assert "vfolder ls" in theirs("ls", f"{reference}:", status=6).stderr
    theirs("ls", "no such vfolder:", status=6)
    run("share", "add", name, guest.word, "ro")
    wait_for(lambda: theirs_sees(theirs, reference))
    assert "rw" in theirs("mkdir", f"{reference}:x", status=5).stderr
    run("cat", f"{name}:absent", status=6)
    run("stat", f"{name}:../x", status=2)
    run("upload", str(tmp_path / "absent"), f"{name}:", status=2)


def theirs_sees(theirs: Run, reference: str) -> bool:
    found = documents(theirs("ls", "-o", "json"))
    return reference in [one["id"] for one in found]


def test_jobs_by_a_key_alone(
    people: People, owner: Person, run: Run, name: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("1")
    run("cp", str(tmp_path / "a"), f"{name}:")
    job = run("rm", "--no-wait", f"{name}:a").stdout.strip()
    key_file = tmp_path / "key"
    key_file.write_text(owner.key)
    environ = {"VFOLDER_URL": people.door.url, "VFOLDER_KEY_FILE": str(key_file)}

    def jobs(*words: str) -> Result:
        return CliRunner().invoke(main, ("jobs", *words), env=environ)

    watched = jobs("watch", job)
    assert (watched.exit_code, "succeeded" in watched.stdout) == (0, True), watched.output
    assert job in jobs("list").stdout
    assert owner.word in jobs("show", job).stdout
    assert jobs("cancel", job).exit_code == 1


def test_what_was_removed_comes_back(run: Run, name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    run("cp", str(tmp_path / "a"), f"{name}:")
    removed = run("rm", f"{name}:a")
    (kept,) = documents(run("ls", "--trashed", name, "-o", "json"))
    assert (kept["paths"], kept["count"]) == (["a"], 1)
    assert f"vfolder undo {kept['id']}" in removed.stderr
    assert run("ls", "--trashed", name).stdout.split("\t")[0] == kept["id"]
    run("undo", kept["id"])
    assert run("cat", f"{name}:a").stdout == "1"
    run("undo", kept["id"], status=6)
    run("undo", "--in", name, kept["id"], status=6)
    run("rm", "--now", f"{name}:a")
    assert run("ls", "--trashed", name).stdout == ""
    run("folder", "count", name)
    (counted,) = documents(run("jobs", "list", "-o", "json", "--verb", "usage"))[0]["jobs"]
    run("undo", counted["id"], status=2)
    deleted = documents(run("folder", "delete", name, "-o", "json"))[0]["id"]
    run("undo", deleted)
    assert run("ls", f"{name}:").stdout == ""


def test_a_snapshot_is_restored_to_one_place(run: Run, name: str) -> None:
    for words in ((), ("new", "--over")):
        refused = run("snapshot", "restore", name, "s", *words, status=2)
        assert "one target" in refused.stderr
    # This volume has no snapshots: the request itself is as the door takes it.
    assert "no snapshots" in run("snapshot", "restore", name, "s", "--over", status=2).stderr


def test_find(run: Run, name: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.csv").write_text("a")
    (tree / "sub" / "b.csv").write_bytes(bytes(2048))
    (tree / "sub" / "c.txt").touch()
    run("cp", "-r", str(tree), f"{name}:")
    found = run("find", name, "--match", "*.csv").stdout.splitlines()
    assert found == ["tree/a.csv", "tree/sub/b.csv"]
    assert run("find", f"{name}:tree/sub", "--min", "2K", "-0").stdout == "tree/sub/b.csv\0"
    assert run("find", f"{name}:tree", "--kind", "directory").stdout == "tree/sub\n"
    (row,) = documents(run("find", name, "--match", "a.*", "--newer", "1h", "--json"))
    assert (row["kind"], row["size_bytes"]) == ("file", 1)
    assert run("find", name, "--older", "1d").stdout == ""
    assert run("find", name, "--match", "a.*", "-l").stdout.startswith("file\t1\t")
    run("find", f"{name}:absent", status=6)
    run("find", name, "--min", "many", status=2)


def test_links(run: Run, name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    run("mkdir", f"{name}:d")
    run("cp", str(tmp_path / "a"), f"{name}:d/")
    words = ("link", "create", f"{name}:d", "--until", "2d", "--max-downloads", "3")
    made = run(*words, "--password-stdin", input="a long secret\n")
    url, link_id = made.stdout.strip(), documents(run("link", "list", "--json"))[0]["id"]
    assert link_id in made.stderr
    given = {"X-Link-Password": "a long secret"}
    assert requests.get(f"{url}/content?path=a", headers=given, timeout=60).text == "1"
    row = run("link", "list", name).stdout.split("\t")
    assert (row[1], row[5]) == ("read", "yes")
    drop = documents(run("link", "create", name, "--drop", "--max-file", "1M", "--json"))[0]
    assert (drop["kind"], drop["max_file_bytes"]) == ("drop", 1024 * 1024)
    run("link", "revoke", link_id)
    wait_for(lambda: requests.get(url, timeout=60).status_code == 404)
    assert link_id not in run("link", "list", name).stdout
    assert link_id in run("link", "list", name, "--all").stdout
    run("link", "revoke", link_id, status=6)


def test_a_copy_and_a_new_owner(people: People, run: Run, name: str, tmp_path: Path) -> None:
    run("mkdir", f"{name}:d")
    run("folder", "clone", name, f"{name} copy")
    wait_for(lambda: f"{name} copy" in run("ls").stdout)
    assert run("ls", f"{name} copy:").stdout == "d\n"
    guest = people.person()
    theirs = runner_of(people, guest, tmp_path / "guest")
    reference = run("folder", "offer", name, guest.word).stdout.strip()
    theirs("folder", "accept", reference)
    wait_for(lambda: theirs_sees(theirs, reference.partition(":")[2]))
    run("ls", f"{reference}:", status=6)
    theirs("snapshot", "list", reference, status=2)


# -- Shares, keys, vfolders ------------------------------------------------------------------------
def test_sharing(people: People, run: Run, name: str, tmp_path: Path) -> None:
    guest = people.person()
    run("share", "add", name, guest.word, "ro", "--until", "7d", "--note", "for the review")
    (grant,) = documents(run("share", "list", "-o", "json", name))
    assert (grant["to"], grant["permission"], grant["note"]) == (guest.word, "ro", "for the review")
    run("share", "set", name, guest.word, "--permission", "rw", "--no-end")
    (changed,) = documents(run("share", "list", "-o", "json", name))
    assert (changed["permission"], changed["expires_at"]) == ("rw", None)
    theirs = runner_of(people, guest, tmp_path / "guest")
    wait_for(lambda: theirs_sees(theirs, documents(run("stat", "-o", "json", name))[0]["id"]))
    theirs("mkdir", f"{name}:mine")
    run("share", "remove", name, guest.word)
    run("share", "remove", name, guest.word, status=1)
    assert run("share", "list", name).stdout == ""


def test_keys(people: People, run: Run, tmp_path: Path) -> None:
    made = run("key", "create", "--name", "reader", "--scope", "files:read", "--days", "1")
    text = made.stdout.strip()
    key_id = documents(run("key", "list", "-o", "json"))[0]["id"]
    assert key_id in made.stderr
    reader = Person(key=text)
    theirs = runner_of(people, reader, tmp_path / "reader")
    theirs("folder", "create", "mine", "--volume", "local", status=5)
    rotated = run("key", "rotate", key_id, "--overlap", "0").stdout.strip()
    assert rotated != text
    run("key", "rename", key_id, "other")
    run("key", "revoke", key_id)
    assert key_id not in run("key", "list").stdout
    assert key_id in run("key", "list", "--all").stdout
    run("key", "create", status=2)


def test_the_life_of_a_vfolder(run: Run, name: str) -> None:
    run("folder", "rename", name, f"{name} new")
    run("folder", "delete", f"{name} new")
    wait_for(lambda: f"{name} new" in run("ls", "--trashed").stdout)
    run("folder", "restore", f"{name} new")
    wait_for(lambda: f"{name} new" in run("ls").stdout)
    run("folder", "delete", f"{name} new")
    wait_for(lambda: f"{name} new" in run("ls", "--trashed").stdout)
    run("folder", "purge", f"{name} new")
    wait_for(lambda: f"{name} new" not in run("ls", "--trashed").stdout)
    run("folder", "restore", f"{name} new", status=1)


# -- Completion ------------------------------------------------------------------------------------
_COMPLETE = """
eval "$(PYTHONPATH={root} {python} -m api.cli completion bash)"
compopt() {{ :; }}
for line in "$@"; do
    COMP_LINE=$line COMP_POINT=${{#line}}
    read -ra COMP_WORDS <<< "${{line//:/ : }}x"
    COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    COMP_WORDS[COMP_CWORD]=${{COMP_WORDS[COMP_CWORD]%x}}
    _vfolder_completion {program}
    printf '%s|' "${{COMPREPLY[@]}}"; echo
done
"""


def test_bash_completes_remote_names(
    people: People, owner: Person, run: Run, tmp_path: Path
) -> None:
    run("folder", "create", "alpha", "--volume", "local")
    run("mkdir", "alpha:data", "alpha:data/in put", "alpha:days")
    (tmp_path / "alphabet").touch()
    program = tmp_path / "vfolder"
    program.write_text(f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from api.cli import main
from core.names import QuotaScope, VFolderId
main(prog_name="vfolder")
""")
    program.chmod(0o700)
    script = _COMPLETE.format(root=ROOT, python=sys.executable, program=program)
    key_file = tmp_path / "key"
    key_file.write_text(owner.key)
    environ = {"VFOLDER_URL": people.door.url, "VFOLDER_KEY_FILE": str(key_file)}
    lines = ["vfolder ls al", "vfolder ls alpha:da", "vfolder cat alpha:data/", "vfolder cp al"]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *lines, "vfolder ls absent:"],
        env=os.environ | environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == [
        "alpha:|",
        "data/|days/|",
        "data/in\\ put/|",
        "alpha:|alphabet|",
        "|",
    ]


# -- Terminals and pipes ---------------------------------------------------------------------------
def command(people: People, person: Person, *words: str, **options: Any) -> "subprocess.Popen[str]":
    key_file = people.settings.directory / f"{person.id}.key"
    key_file.write_text(person.key)
    environ = {"VFOLDER_URL": people.door.url, "VFOLDER_KEY_FILE": str(key_file), "TERM": "xterm"}
    return subprocess.Popen(
        [sys.executable, "-m", "api.cli", *words],
        cwd=ROOT,
        env=os.environ | environ,
        text=True,
        **options,
    )


def test_a_terminal_has_one_line_of_progress(
    people: People, owner: Person, name: str, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(os.urandom(20_000_000))
    with terminal() as seen:
        words = ("upload", str(tmp_path / "large"), f"{name}:")
        child = command(people, owner, *words, stdout=subprocess.DEVNULL, stderr=seen.descriptor)
        assert child.wait(60) == 0
    assert b"\r\x1b[Kupload" in bytes(seen.seen)
    assert seen.text.splitlines()[-1].endswith("1 file, 19 MiB")


@pytest.mark.usefixtures("name")
def test_a_pipe_that_ends_early_is_no_traceback(people: People, owner: Person) -> None:
    child = command(people, owner, "ls", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    with child.stderr as errors:
        assert "Traceback" not in errors.read()
    child.wait(60)


# -- Quotas ----------------------------------------------------------------------------------------
def test_a_limit_is_hit_and_told_by_commands_alone(run: Run, name: str, tmp_path: Path) -> None:
    run("quota", "limit", name, "1K")
    (tmp_path / "small").write_bytes(b"x" * 900)
    (tmp_path / "big").write_bytes(b"x" * 200)
    run("upload", str(tmp_path / "small"), name)
    refused = run("upload", str(tmp_path / "big"), name, status=7)
    assert "124 bytes left" in refused.output
    shown = run("notices", "--new", "--mark-read").stdout
    assert "reached 80 %" in shown
    assert run("notices", "--new").stdout == ""
    (notice,) = documents(run("notices", "--json"))
    assert (notice["kind"], notice["read"], notice["limit_bytes"]) == ("quota", True, 1024)
    run("quota", "limit", name, "none")
    run("upload", str(tmp_path / "big"), name)
    run("quota", "limit", name, "much", status=2)
    assert run("quota", "list", "--volume", "local").exit_code == 0
    run("quota", "set", "user:00000000-0000-0000-0000-000000000001", "1G", status=5)


# -- Names of people -------------------------------------------------------------------------------
def called(people: People, person: Person, name: str) -> Person:
    """A person whose name is known here."""
    people.subjects.change("user", person.id, lambda record: structs.replace(record, name=name))
    return person


def found_as(people: People, owner: Person, name: str, count: int) -> bool:
    answer = people.call(owner, "GET", "/v1/subjects", params={"q": name})
    return len(answer.json()["subjects"]) == count


def test_sharing_by_name(people: People, owner: Person, run: Run, name: str) -> None:
    mark = uuid4().hex[:8]
    ada = called(people, people.person(), f"Ada {mark}")
    first, second = (called(people, people.person(), f"Bo {mark}") for _ in range(2))
    group = people.group(owner, ada, admins=(owner,))
    people.subjects.change(
        "group", group, lambda one: structs.replace(one, name=f"Ada team {mark}")
    )
    wait_for(lambda: found_as(people, owner, f"Ada {mark}", 1))
    wait_for(lambda: found_as(people, owner, f"bo {mark}", 2))
    wait_for(lambda: found_as(people, owner, f"team {mark}", 1))

    def shares() -> list[tuple[str, str]]:
        found = documents(run("share", "list", "-o", "json", name))
        return [(one["to"], one["permission"]) for one in found]

    run("share", "add", name, f"ada {mark.upper()}", "ro")
    assert shares() == [(ada.word, "ro")]
    refused = run("share", "add", name, f"Bo {mark}", "ro", status=2)
    assert "Several are called" in refused.stderr
    for one in (first, second):
        assert f"{one.word} (Bo {mark})" in refused.stderr
    near = run("share", "add", name, f"team {mark}", "ro", status=6)
    assert f"group:{group} (Ada team {mark})" in near.stderr
    run("share", "add", name, f"absent {mark}", "ro", status=6)
    run("share", "add", name, f"group:Ada {mark}", "ro", status=6)
    run("share", "add", name, " ", "ro", status=2)
    assert shares() == [(ada.word, "ro")], "what was refused changed nothing"
    run("share", "add", name, f"group:ada team {mark}", "rw")
    run("share", "add", name, str(first.id), "rwd")
    assert sorted(shares()) == sorted(
        [(ada.word, "ro"), (f"group:{group}", "rw"), (first.word, "rwd")]
    )
    run("folder", "offer", name, f"Ada {mark}")
    shown = documents(run("stat", "-o", "json", name))[0]
    assert shown["owner"]["id"] == str(owner.id), "it is an offer"


def test_a_name_that_many_have_a_part_of_is_found(people: People, owner: Person) -> None:
    """The list has an end; exactly the name comes before all others."""
    mark = uuid4().hex[:8]
    members = [called(people, people.person(), f"A {mark} {n:02}") for n in range(12)]
    exact = [called(people, people.person(), mark) for _ in range(2)]
    people.group(owner, *members, exact[0], admins=(owner,))
    wait_for(lambda: found_as(people, owner, mark, 10))

    def first() -> bool:
        rows = people.call(owner, "GET", f"/v1/subjects?q={mark}").json()["subjects"]
        return {one["id"] for one in rows[:2]} == {str(one.id) for one in exact}

    wait_for(first)


def test_names_of_people_are_completed(
    people: People, owner: Person, run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = uuid4().hex[:8]
    ada = called(people, people.person(), f"Ada{mark}")
    people.group(owner, ada, admins=(owner,))
    wait_for(lambda: found_as(people, owner, f"Ada{mark}", 1))
    key_file = people.settings.directory / f"{owner.id}.key"
    key_file.write_text(owner.key)
    monkeypatch.setenv("VFOLDER_URL", people.door.url)
    monkeypatch.setenv("VFOLDER_KEY_FILE", str(key_file))
    completer = ShellComplete(main, {}, "vfolder", "_VFOLDER_COMPLETE")

    def offered(incomplete: str) -> list[str]:
        words = ["share", "add", name]
        return [item.value for item in completer.get_completions(words, incomplete)]

    # It asks briefly, so a busy machine may have no answer.
    wait_for(lambda: offered(f"Ada{mark[:4]}") == [f"Ada{mark}"])
    wait_for(lambda: offered(f"user:ada{mark}") == [f"user:Ada{mark}"])
    assert offered(f"group:Ada{mark}") == offered(f"absent {mark}") == []


# -- Logs ------------------------------------------------------------------------------------------
def test_a_log_is_followed(people: People, owner: Person, run: Run, name: str) -> None:
    """What is added comes; a log that begins again is printed from its beginning; Ctrl-C ends."""
    shown = documents(run("stat", "-o", "json", name))[0]
    vfolder = VFolderId(QuotaScope.parse(owner.word), UUID(shown["id"]))
    log = people.path(vfolder) / "train.log"
    log.write_text("one\ntwo\n")
    words = ("cat", "--tail", "4", "-f", f"{name}:train.log")
    pipe = subprocess.PIPE
    with command(people, owner, *words, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "two\n"
            with log.open("a") as more:
                more.write("three\n")
            assert process.stdout.readline() == "three\n"
            log.write_text("new\n")
            assert process.stdout.readline() == "new\n"
            assert "shorter" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
    run("cat", "-f", f"{name}:absent", status=6)
    run("cat", "-f", f"{name}:train.log", f"{name}:train.log", status=2)
    run("cat", "-f", "--range", "0-1", f"{name}:train.log", status=2)


def test_a_followed_log_that_is_removed_ends_it(people: People, owner: Person, run: Run) -> None:
    vfolder = people.vfolder(owner, log="begin\n")
    pipe = subprocess.PIPE
    words = ("cat", "-f", f"{vfolder.id}:log")
    with command(people, owner, *words, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "begin\n"
            (people.path(vfolder) / "log").unlink()
            assert process.wait(60) == 6
        finally:
            process.kill()
