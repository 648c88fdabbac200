"""`vfolder simulate` and `vfolder doctor` together: what is printed is pasted, and works."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.settings import load
from simulators.rules import ACTIONS, RuledFaults, WrongRule, parsed
from simulators.serving import Ask
from simulators.systems import SYSTEMS
from simulators.versions import VERSIONS
from tests.support.doors import settings_in
from tests.support.node import ROOT, wait_for
from tests.support.thoroughness import THOROUGH

#: A system of HTTP and one of commands; `make thorough` runs all of them.
NAMES = tuple(VERSIONS) if THOROUGH else ("netapp", "exascaler")
COMMAND = [sys.executable, "-m", "api.cli"]


@contextmanager
def simulated(directory: Path, *words: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The command, and what it printed once it serves."""
    errors, printed = directory / "requests", directory / "printed"
    with errors.open("w") as error, printed.open("w") as output:
        process = subprocess.Popen(
            [*COMMAND, "simulate", *words], cwd=ROOT, stdout=output, stderr=error, text=True
        )
    try:
        wait_for(lambda: "options]" in printed.read_text() or process.poll() is not None)
        yield printed.read_text(), process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def environment(text: str) -> dict[str, str]:
    """The variable that the command says to set."""
    return dict(re.findall(r"^# export (\w+)=(.*)$", text, re.MULTILINE))


def configured(directory: Path, text: str) -> str:
    """A configuration with the tables that were printed."""
    path = Path(settings_in(directory).origin)
    path.write_text(path.read_text() + text)
    return str(path)


def doctor(file: str, name: str, text: str) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [*COMMAND, "doctor", name, "--json", "--config", file],
        cwd=ROOT,
        env=os.environ | environment(text),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {one["check"]: one for one in json.loads(done.stdout)["checks"]}


def test_every_array_has_profiles() -> None:
    assert set(VERSIONS) == {*SYSTEMS, "exascaler"}


@pytest.mark.part("root")
@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed_works_when_it_is_pasted(name: str, tmp_path: Path) -> None:
    with simulated(tmp_path, name, "-v", "--profile", list(VERSIONS[name])[-1]) as (text, process):
        (table,) = tomllib.loads(text)["volume"].values()
        assert Path(table["path"]).is_dir()
        if name in SYSTEMS:
            assert SYSTEMS[name].secret not in text
        for program in Path(table["path"]).parent.glob("programs/*[!.]*"):
            assert program.suffix == ".json" or not program.is_symlink(), "it needs its own mode"
        found = doctor(configured(tmp_path, text), name, text)
        assert found["credentials"]["status"] == "ok"
        assert found["volume"]["status"] == "ok"
    assert process.returncode == 0
    assert not Path(table["path"]).exists()
    if name in SYSTEMS:
        assert "GET /" in (tmp_path / "requests").read_text()


def test_a_fault_is_seen_by_the_product(tmp_path: Path) -> None:
    words = ("weka", "-v", "--fault", "status:status=503,times=1,method=GET")
    with simulated(tmp_path, *words) as (text, _):
        assert doctor(configured(tmp_path, text), "weka", text)["credentials"]["status"] == "ok"
        wait_for(lambda: "503 (status 503)" in (tmp_path / "requests").read_text())


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["weka", "--profile", "9"], "profiles are: 4.4, 4.1"),
        (["weka", "--fault", "explode"], "actions are"),
        (["weka", "--fault", "truncate:when=now"], "limits are"),
        (["floppy"], "'floppy' is not one of"),
    ],
)
def test_wrong_words_are_named(words: list[str], hint: str) -> None:
    command = [*COMMAND, "simulate", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert hint in done.stderr


def test_an_option_of_a_backend_comes_from_the_environment(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("from a file\n")
    file = configured(tmp_path, '[volume.fast]\nbackend = "weka"\npath = "local"\n')
    variables = {
        "VFOLDER__VOLUME__FAST__OPTIONS__WEKA_PASSWORD_FILE": str(secret),
        "VFOLDER__VOLUME__FAST__OPTIONS__WEKA_FS_NAME": "research",
    }
    options = load(Path(file), environ=variables).volume["fast"].backend_options
    assert options == {"weka_password": "from a file", "weka_fs_name": "research"}


# -- Rules -----------------------------------------------------------------------------------------
def suffered(*texts: str, requests: int = 6, method: str = "GET", path: str = "/a") -> list[str]:
    faults = RuledFaults([parsed(text) for text in texts])
    return [faults.of(Ask(method, path, {}, {})) for _ in range(requests)]


def test_rules_choose_requests() -> None:
    assert suffered("truncate:nth=2", requests=3) == ["", "truncate", ""]
    assert suffered("status:every=3,status=429") == ["", "", "status 429"] * 2
    assert suffered("drop_before:times=1", requests=2) == ["drop before", ""]
    assert suffered("drop_before:method=POST", requests=2) == ["", ""]
    assert suffered("drop_before:path=^/b", requests=2) == ["", ""]
    assert suffered("drop_before:after_s=3600", requests=2) == ["", ""]
    assert suffered("drop_before:probability=0", requests=2) == ["", ""]
    assert suffered("delay:seconds=2,times=1", "truncate", requests=2) == ["delay 2.0", "truncate"]


def test_every_action_is_one_of_the_front_end() -> None:
    for action in ACTIONS:
        assert parsed(action).kind


def test_a_wrong_number_is_named() -> None:
    with pytest.raises(WrongRule, match="nth=x"):
        parsed("truncate:nth=x")
    with pytest.raises(WrongRule, match="path="):
        parsed("truncate:path=(")
