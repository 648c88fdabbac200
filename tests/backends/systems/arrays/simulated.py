"""Simulated arrays, and backends on them that trust them and wait for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

from backends.base import Backend, Mount
from core.names import QuotaScope, ScopeKind, VFolderId
from simulators.serving import Faults, Server, Simulator, certificate, serving
from tests.backends.systems.arrays.watching import modest, no_blind_repetition

S = TypeVar("S", bound=Simulator)
B = TypeVar("B")

#: A busy machine keeps a backend waiting: nothing is asked twice for that.
PATIENT = {"deadline_seconds": 120.0, "answer_seconds": 60.0}


def trusting(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with the certificate of the simulators, and with patience."""
    return {**options, "ca_bundle": str(certificate()[0]), **PATIENT}


class Array(Generic[S, B]):
    """A simulated array and a backend on it."""

    def __init__(
        self, server: Server, simulator: S, top: Path, make: Callable[[dict[str, Any]], B]
    ) -> None:
        self.server, self.simulator, self.top = server, simulator, top
        self._make = make
        self.backend = self.another()

    def another(self, **options: Any) -> B:
        """Return another backend on it."""
        return self._make(options)


@contextmanager
def running(
    simulator: S,
    top: Path,
    backend: Callable[[Mount], B],
    options: Callable[[str], dict[str, Any]],
    faults: Faults | None = None,
) -> Iterator[Array[S, B]]:
    """Run an array; in the end look at its journal."""
    with serving(simulator, faults) as server:
        given = trusting(options(server.url))
        yield Array(
            server, simulator, top, lambda more: backend(Mount("array", top, {**given, **more}))
        )
        no_blind_repetition(server)
        modest(server)


def scope() -> QuotaScope:
    """Return the name of a new scope."""
    return QuotaScope(ScopeKind.USER, uuid4())


def vfolder_on(backend: Backend) -> VFolderId:
    """Make a vfolder with a file in a scope of its own."""
    made = VFolderId(scope(), uuid4())
    assert made.scope
    backend.create_scope(made.scope)
    backend.create_vfolder(made)
    (backend.vfolder_path(made) / "file").write_bytes(b"kept")
    return made
