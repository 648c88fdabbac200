"""Every path and command that the documents name exists."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from api.cli import main
from core.settings import IssuerTable, Settings, effective

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "api" / "doors" / "pages").glob("*.md")),
]
#: The top of every path that the project has; other words with a slash are no paths of ours.
TOPS = {path.name for path in ROOT.iterdir()} - {".git", "var"}
#: Made by a command, not by the repository.
MADE = {
    "compose/storage-proxy.toml",
    "compose/store.conf",
    "store/valkey.conf",
    "var/first.toml",
    "up.lock",
    "storage-proxy.toml",
    "var/storage-proxy.toml",
    "/etc/vfolder/storage-proxy.toml",
}
SUFFIXES = {".py", ".md", ".toml", ".yml", ".sh", ".conf", ".lock", ".service", ".svg"}
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#]+)")
VFOLDER = re.compile(r"(?:\.venv/bin/)?vfolder((?: [a-z-]+)+)")
MAKE = re.compile(r"\bmake ([a-z]+)")


def is_path(name: str) -> bool:
    if not re.fullmatch(r"[A-Za-z0-9_.@/-]+", name) or name in MADE:
        return False
    return name.split("/", maxsplit=1)[0] in TOPS - {".venv"} or Path(name).suffix in SUFFIXES


def names(document: Path) -> list[str]:
    return CODE.findall(document.read_text("utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(document: Path) -> None:
    for name in filter(is_path, names(document)):
        assert (ROOT / name).exists(), f"{document.name} names {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text("utf-8")):
        if "://" not in target and not target.startswith("/"):  # of a door
            assert (document.parent / target).exists(), f"{document.name} links {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    text = document.read_text("utf-8")
    code = "\n".join([*names(document), *re.findall(r"```sh\n(.*?)```", text, re.DOTALL)])
    for words in VFOLDER.findall(code):
        command = main
        for word in words.split():
            found = getattr(command, "commands", {}).get(word)
            if not hasattr(command, "commands"):
                break
            assert found is not None, f"{document.name} names vfolder{words}"
            command = found
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(MAKE.findall(code)) <= targets


def test_every_setting_of_ours_is_explained() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `\[(vfolder[a-z.]*)\] ([a-z-]+)` \| ([^|]*) \|", text, re.MULTILINE)
    assert {f"{table}.{key}": default for table, key, default in rows} == own_defaults()


def test_every_setting_of_an_issuer_is_explained() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    part = text.partition("An issuer (`[[vfolder.access.issuer]]`) has:")[2].partition("\n## ")[0]
    explained = {}
    for keys, default in re.findall(
        r"^\| ((?:`[a-z-]+`(?:, )?)+) \| ([^|]*) \|", part, re.MULTILINE
    ):
        explained |= dict.fromkeys(CODE.findall(keys), default)
    fields = {one.encode_name: one.default for one in msgspec.structs.fields(IssuerTable)}
    assert explained == {
        key: "required" if value is msgspec.NODEFAULT else shown(value)
        for key, value in fields.items()
    }


def own_defaults() -> dict[str, str]:
    required = {"storage-proxy": {"node-id": "n", "secret": "s", "session-expire": 1}}
    required |= {"vfolder": {"access": {}}}  # which is none unless the file has it
    settings = msgspec.convert(required | {"api": {"manager": {"secret": "s"}}}, Settings)
    return {key: shown(value) for key, value in effective(settings) if key.startswith("vfolder.")}


def shown(value: object) -> str:
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, list):
        return f"`{json.dumps(value)}`"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else f"{value:.10g}"


def test_every_command_explains_itself() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for word in main.commands:
        assert re.search(rf"^  {word} +\S", result.output, re.MULTILINE), word


@pytest.mark.parametrize("word", ["up", "demo"])
def test_the_commands_that_become_others_explain_themselves(word: str) -> None:
    command = [sys.executable, "-m", "api.cli", word, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert f"usage: vfolder {word}" in result.stdout
