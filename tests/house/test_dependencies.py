"""Every direct dependency has its line in docs/dependencies.md, and no line is left over."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def declared() -> set[str]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lines = list(project["project"]["dependencies"])
    for extra in project["project"].get("optional-dependencies", {}).values():
        lines += extra
    for group in project["dependency-groups"].values():
        lines += [line for line in group if isinstance(line, str)]
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in lines}


def described() -> set[str]:
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    cells = re.findall(r"^\| ([a-z0-9][^|]*?) \|", text, re.MULTILINE)
    return {name.strip() for cell in cells for name in cell.split(",")}


def test_every_dependency_has_its_line_and_every_line_its_dependency() -> None:
    assert described() == declared()


def test_the_lock_of_the_service_can_install_it() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert re.search(r"^setuptools==", lock, re.MULTILINE), "locked without --group build"


def test_the_locks_pin_every_direct_dependency() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text("utf-8")
    for name in declared():
        normal = name.replace("_", "-")
        assert re.search(rf"^{re.escape(normal)}(\[[^\]]*\])?==", lock, re.MULTILINE), name
