"""All mutations, by group. Add a kind of bugs as a module with a function `mutations`."""

from collections.abc import Iterator

from tests.mutants import kinds, others, syncs
from tests.mutants.mutation import Mutation

GROUPS = {"syncs": syncs, "kinds": kinds, "others": others}


def mutations(*groups: str) -> Iterator[Mutation]:
    """Yield the mutations of some groups, or of all; a name says where or what each is."""
    for group in groups or GROUPS:
        yield from GROUPS[group].mutations()
