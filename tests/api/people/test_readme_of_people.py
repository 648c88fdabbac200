"""The story of the README with two people and a visitor, pasted into a shell on a node."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import CONFIG_VARIABLE
from tests.api.people.conftest import People
from tests.support.node import ROOT

PASTE_SECONDS = 300


@pytest.mark.part("curl")
def test_the_examples_work_when_pasted(people: People, tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8").split("## People, by example")[1]
    blocks = re.findall(r"```sh\n(.*?)```", text.split("\n## ")[0], re.DOTALL)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    places = {name: str(tmp_path / name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}
    environ = os.environ | places | {CONFIG_VARIABLE: people.settings.origin}
    pasted = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho ----\n".join(blocks)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PASTE_SECONDS,
        check=False,
    )
    assert pasted.returncode == 0, pasted.stdout + pasted.stderr
    signed_in, files, shared, back = pasted.stdout.split("----\n")
    assert signed_in.count("Signed in at") == 2
    assert {"docs/people-cli.md", "docs/people.md", "same"} <= {*files.splitlines()}
    assert "\tro\t" in shared
    for line in ("Bob reads the same", "so does a visitor", "Bob may not remove it"):
        assert line in shared.splitlines()
    assert "copy" not in back, "all files are there again"
    assert back.count("user:") == 1
