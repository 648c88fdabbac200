"""Names: the field's terms and the glossary, one meaning each."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.support.syntax import definitions_of, our_files

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "backends", "workers", "api", "deploy")
#: A distribution of its own: its classes have the names of what they are at the door.
CLIENT = "vfolder_client"
#: Words that no file, class or public function is called by, and what to say in their place.
BANNED = {
    "act": "operation, route",
    "acts": "operations",
    "admission": "checks",
    "alarms": "timers",
    "anew": "again",
    "asked": "requested, request, submission",
    "atlas": "node_directory",
    "bell": "doorbell",
    "choices": "selection",
    "courier": "event_delivery",
    "departing": "lingering_close",
    "foresee": "preview",
    "foreseen": "preview",
    "foresight": "preview",
    "forsake": "abandon",
    "gates": "inline_calls",
    "hands": "helpers, worker_pool",
    "herald": "event_publisher",
    "incarnation": "worker_identity",
    "keeper": "quota_helper",
    "lean": "flask_app",
    "noting": "log_context",
    "offload": "sendfile",
    "outgoing": "response_streams",
    "reach": "access",
    "refusals": "errors",
    "renewal": "reload",
    "room": "free_space, hidden_directory, package",
    "rooms": "hidden_usage, packages",
    "stranger": "unauthenticated",
    "survey": "inventory",
    "tell": "publish, report, notify",
    "told": "published, reported",
    "whole": "complete, all",
    "wish": "request, preconditions",
    "wishes": "preconditions",
}
#: A term of HTTP or of the field that happens to be on the list.
ALLOWED = {"tell"}  # of a file


def sources(*more: str) -> list[Path]:
    return [path.relative_to(ROOT) for room in (*ROOMS, *more) for path in our_files(ROOT / room)]


def parts(name: str) -> set[str]:
    """The words of a name: `list_of_acts` and `ListOfActs` have the same ones."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def definitions(path: Path) -> Iterator[tuple[int, str]]:
    """Every class and every public function of a file, methods too."""
    for one in definitions_of(ROOT / path):
        if one.is_class or not one.name.startswith("_"):
            yield one.line, one.name


def test_names_are_the_words_of_the_field() -> None:
    wrong = []
    for path in sources(CLIENT):
        named = [(0, path.stem), *definitions(path)]
        wrong += [
            f"{path}:{line}: {name}: {word} is {BANNED[word]}"
            for line, name in named
            if name not in ALLOWED
            for word in parts(name) & set(BANNED)
        ]
    assert not wrong, "\n".join(wrong)


def test_a_class_name_means_one_thing() -> None:
    where = defaultdict(list)
    for path in sources():
        for one in definitions_of(ROOT / path):
            if one.is_class and one.is_top:
                where[one.name].append(str(path))
    assert not {name: paths for name, paths in where.items() if len(paths) > 1}
