"""The page of faults by kind: every test that it names exists, and every backend has a row."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from backends.volumes.registry import _BUILT_IN, _BY_PATH

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/backends/faults.md"
KINDS = re.findall(r"^## (\d\. .*)\n((?:.|\n)*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE)
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
#: They do what another backend does; the page says so.
SAME = {"spectrumscale", "hammerspace-base"}


@cache
def files() -> list[str]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "tests", "contract"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def rows(text: str) -> list[tuple[str, str]]:
    cells = [line.strip("| ").split(" | ", 1) for line in text.splitlines() if line[:1] == "|"]
    return [(one[0], one[1]) for one in cells[2:]]


@pytest.mark.parametrize(("kind", "text"), KINDS, ids=[kind for kind, _ in KINDS])
def test_every_test_exists(kind: str, text: str) -> None:
    for name, function in TEST.findall(text):
        found = [file for file in files() if f"/{file}".endswith(f"/{name}")]
        found = [name] if name in found else found
        assert len(found) == 1, f"{kind}: {name} is {found}"
        content = (ROOT / found[0]).read_text("utf-8")
        assert re.search(rf"^def {function}\(", content, re.MULTILINE), (
            f"{kind}: {name}::{function}"
        )


@pytest.mark.parametrize(("kind", "text"), KINDS, ids=[kind for kind, _ in KINDS])
def test_every_backend_has_a_test_or_a_reason(kind: str, text: str) -> None:
    named = {name for cell, _ in rows(text) for name in re.findall(r"`([\w-]+)`", cell)}
    assert {*_BUILT_IN, *_BY_PATH} - SAME == named, kind
    for cell, tests in rows(text):
        assert TEST.search(tests) or re.match(r"\u2013 \w", tests), f"{kind}: {cell}"


def test_all_nine_kinds_are_there() -> None:
    assert [kind[0] for kind, _ in KINDS] == list("123456789")
