"""The examples of the README, pasted into a shell while a node runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import CONFIG_VARIABLE
from tests.support.node import ROOT, Node

PASTE_SECONDS = 500


def blocks() -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    api = text.split("## The job API by example")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", api, re.DOTALL)


def pasted(node: Node, tmp_path: Path, texts: list[str]) -> subprocess.CompletedProcess[str]:
    """What a shell prints for blocks, with a line between them."""
    # The examples name .venv/bin; a test run may have its interpreter elsewhere.
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "README.md").symlink_to(ROOT / "README.md")
    (checkout / ".venv").symlink_to(Path(sys.executable).parents[1])
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho ----\n".join(texts)],
        cwd=checkout,
        env=os.environ | {CONFIG_VARIABLE: str(node.config)},
        capture_output=True,
        text=True,
        timeout=PASTE_SECONDS,
        check=False,
    )


@pytest.mark.part("curl")
def test_a_ticket_for_a_directory_as_its_page_shows_it(stack: Node, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "client.md").read_text("utf-8")
    below = page.split("### Names below a directory")[1].split("\n#")[0]
    (example,) = re.findall(r"```sh\n(.*?)```", below, re.DOTALL)
    done = pasted(stack, tmp_path, [*blocks()[:2], example])
    assert done.returncode == 0, done.stdout + done.stderr
    answer = done.stdout.split("----\n")[-1]
    assert "201" in answer.splitlines()[0]
    assert "upload-offset: 5" in answer.lower()
    settings = stack.settings
    (file,) = settings.volume_path(settings.volume["local"]).rglob("results/run1/log.txt")
    assert file.read_text() == "hello"


@pytest.mark.part("curl")
def test_the_examples_work_when_pasted(stack: Node, tmp_path: Path) -> None:
    paste = pasted(stack, tmp_path, blocks())
    assert paste.returncode == 0, paste.stdout + paste.stderr
    assert paste.stderr == ""
    volumes, listing, job, same, rest = paste.stdout.split("----\n")
    assert '"name":"local"' in volumes
    assert '"name":"README.md"' in listing
    assert "problem" not in volumes + listing + job
    assert job.rstrip().endswith("succeeded")
    assert same.strip() == "same"
    assert "storage/job/not-cancellable" in rest
    assert len(re.findall(r"^[0-9a-f-]{36}$", rest, re.MULTILINE)) == 3
