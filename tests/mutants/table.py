"""All mutations. Add a kind as a function in a module of its own, or single ones by `replaced`."""

from collections.abc import Iterator

from tests.mutants import syncs
from tests.mutants.mutation import Mutation

#: Single mutations: name, file, the text to find once, its replacement, the nearest tests.
SINGLE: tuple[Mutation, ...] = ()


def mutations() -> Iterator[Mutation]:
    """Yield all mutations; a name says where each is."""
    yield from syncs.mutations()
    yield from SINGLE
