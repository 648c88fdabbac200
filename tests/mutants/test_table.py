"""The table of mutations fits the source: each one parses, has tests that exist, and a name."""

from collections import Counter

from tests.mutants.mutation import ROOT, source_of
from tests.mutants.table import GROUPS, mutations
from tests.support.syntax import parsed


def test_each_mutation_changes_a_file_that_still_parses() -> None:
    found = list(mutations())
    assert len(found) > 90
    for one in found:
        mutated = one.applied_to(source_of(one.file))
        assert mutated != source_of(one.file), one.name
        if one.file.endswith(".py"):
            parsed(mutated)
        assert one.tests, one.name
        assert all(_exists(test) for test in one.tests), (one.name, one.tests)


def _exists(test: str) -> bool:
    file, _, function = test.partition("::")
    return (ROOT / file).exists() and (not function or f"def {function}(" in source_of(file))


def test_each_group_has_its_own() -> None:
    assert len(list(mutations())) == sum(len(list(mutations(group))) for group in GROUPS)
    kinds = Counter(one.name.partition(":")[0] for one in mutations("kinds"))
    assert set(kinds.values()) == {2}
    assert len(kinds) == 20


def test_names_are_unique() -> None:
    names = Counter(one.name for one in mutations())
    assert [name for name, count in names.items() if count > 1] == []
