"""The client library has a class for each kind of problem that people can meet."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import api
import backends
import core
from core.errors import StorageError
from vfolder_client import errors

#: Kinds that no route for people answers: of artifacts, tickets, the manager door and the start.
OTHERS = (
    "storage/object-type-invalid",
    "storage/path-refused",
    "storage/path-not-found",
    "storage/file-too-large",
    "storage/object/deletion/failed",
    "storage/snapshot/",
    "storage/usage/",
    "storage/vfolder/not-mountable",
    "registries/",
    "storage/config/",
    "jwt-",
)


def classes(kind: type[StorageError] = StorageError) -> Iterator[type[StorageError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from classes(below)


@pytest.fixture(scope="module")
def served() -> dict[str, int]:
    """The kinds that the service answers, each with a status."""
    for room in (core, backends, api):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            wanted = "vendored" not in module.name and not module.name.endswith("__main__")
            if wanted and "artifacts" not in module.name and ".cli" not in module.name:
                importlib.import_module(module.name)
    ours = ("core.", "backends.", "api.")
    found = [one for one in classes() if one.__module__.startswith(ours)]
    return {one.kind: int(one.status) for one in found if not one.kind.startswith(OTHERS)}


def test_every_kind_has_a_class(served: dict[str, int]) -> None:
    missing = sorted(served.keys() - errors.kinds())
    assert not missing, f"add a class to vfolder_client/errors/problems.py for {missing}"


def test_no_class_is_for_a_kind_that_is_not_served(served: dict[str, int]) -> None:
    assert sorted(errors.kinds() - served.keys()) == ["storage/http/412"]
