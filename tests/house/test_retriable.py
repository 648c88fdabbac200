"""`retriable`, the status and the words of an error agree: for every class, code and sentence."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import api
import backends
import core
import workers
from api.http import problems
from backends.fs import errors
from core.errors import StorageError
from tests.support.syntax import our_files, parsed

ROOT = Path(__file__).resolve().parents[2]
ROOMS: tuple[ModuleType, ...] = (core, backends, workers, api)
#: The same request may succeed later.
PASSING = {408, 423, 429, 503, 504}
#: Errors of the caller that pass by themselves all the same, and why.
EXCEPTIONS = {
    "BodyCut": "the connection broke; the bytes before it are kept",
    "RequestCut": "the connection broke",
    "ChecksumMismatch": "the bytes were spoiled on their way; tus asks for them again",
    "EndNotPublished": "the end of the job is being published",
    "EntryChanged": "another request plans the archive from what is there then",
    "EntryBusy": "the system uses the entry for a while",
    "Locked": "another job holds the vfolder for a while",
    "MisdirectedCall": "another node serves the volume; its address is being learned",
    "UploadLeaseLost": "another request writes the upload for a while",
}
#: Failures of the service (500) that a second try can mend, and why.
MENDED = {"CopyDiffers": "the source may have changed while it was copied"}
TRY_AGAIN = re.compile(
    r"\b(try|ask|run it|run the job) again\b|\b(may|will) work later\b", re.IGNORECASE
)
HOPELESS = re.compile(
    r"\b(will not|can not|cannot) (succeed|work)\b|\bnever (works|succeeds)\b", re.IGNORECASE
)


def classes(kind: type[StorageError] = StorageError) -> Iterator[type[StorageError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from classes(below)


@pytest.fixture(scope="module")
def known() -> dict[str, type[StorageError]]:
    """Every error class of the rooms, by name."""
    for room in ROOMS:
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if "vendored" not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    rooms = tuple(f"{room.__name__}." for room in ROOMS)
    return {kind.__name__: kind for kind in classes() if kind.__module__.startswith(rooms)}


def test_the_flag_and_the_status_agree(known: dict[str, type[StorageError]]) -> None:
    wrong = []
    for name, kind in known.items():
        expected = kind.status in PASSING or name in EXCEPTIONS or name in MENDED
        if kind.retriable != expected:
            wrong.append(f"{name}: {kind.status}, retriable {kind.retriable}")
    assert wrong == []
    assert {*EXCEPTIONS, *MENDED} <= known.keys()


def test_problems_of_the_framework_agree() -> None:
    for status, (_, detail) in problems._FRAMEWORK.items():
        retriable = status in problems._RETRIABLE
        assert retriable == (status in PASSING), status
        assert not TRY_AGAIN.search(detail) or retriable, detail


def test_the_errno_table_agrees() -> None:
    for number, meaning in errors.MEANINGS.items():
        assert not TRY_AGAIN.search(meaning.sentence) or meaning.error.retriable, number
        assert not HOPELESS.search(meaning.sentence) or not meaning.error.retriable, number


def texts(node: ast.AST, assigned: dict[str, list[ast.expr]]) -> list[str]:
    """The sentences that an argument may be; what is only known at run time is left out."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(text for value in values for text in texts(value, {}))]
        case ast.BinOp(left=left, right=right):
            return [a + b for a in texts(left, assigned) for b in texts(right, assigned)]
        case ast.IfExp(body=body, orelse=other):
            return [*texts(body, assigned), *texts(other, assigned)]
        case ast.Name(id=name):
            return [text for value in assigned.get(name, []) for text in texts(value, {})]
    return []


def sentences(path: Path, known: dict[str, type[StorageError]]) -> Iterator[tuple[str, str]]:
    """Every error that a module makes: its class and a sentence of it."""
    tree = parsed(path.read_text("utf-8"))
    assigned: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in known:
                yield from ((name, text) for text in texts(node.args[0], assigned))


def test_the_words_and_the_flag_agree(known: dict[str, type[StorageError]]) -> None:
    wrong, seen = [], 0
    for room in ROOMS:
        for path in our_files(ROOT / room.__name__):
            if "vendored" in path.parts:
                continue
            for name, text in sentences(path, known):
                seen += 1
                kind = known[name]
                if TRY_AGAIN.search(text) and not kind.retriable:
                    wrong.append(f"{path.relative_to(ROOT)}: {name} is not retriable: {text}")
                if HOPELESS.search(text) and kind.retriable:
                    wrong.append(f"{path.relative_to(ROOT)}: {name} is retriable: {text}")
    assert wrong == []
    assert seen > 200


_LUA_ERROR = re.compile(r"retriable = (true|false),(.*?)\}", re.DOTALL)


def test_errors_that_scripts_write_agree() -> None:
    found = [
        match
        for path in sorted((ROOT / "core/jobs/store/scripts").rglob("*.lua"))
        for match in _LUA_ERROR.findall(path.read_text("utf-8"))
    ]
    assert len(found) == 2, found
    for retriable, words in found:
        assert "title" in words
        assert not TRY_AGAIN.search(words) or retriable == "true"
