"""The table of mutations fits the source: each one parses, has tests that exist, and a name."""

import ast
from collections import Counter

from tests.mutants.mutation import ROOT, source_of
from tests.mutants.table import mutations


def test_each_mutation_changes_a_file_that_still_parses() -> None:
    found = list(mutations())
    assert len(found) > 30
    for one in found:
        mutated = one.applied_to(source_of(one.file))
        assert mutated != source_of(one.file), one.name
        ast.parse(mutated)
        assert all((ROOT / test).exists() for test in one.tests), one.name


def test_names_are_unique() -> None:
    names = Counter(one.name for one in mutations())
    assert [name for name, count in names.items() if count > 1] == []
