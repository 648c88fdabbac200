"""Search of users and groups: the whole name first; near ones by a part of it, others never."""

from uuid import UUID

import pytest

from backends.volumes.access.subject_index import view_of
from backends.volumes.access.subject_search import found_subjects
from core.access import Subject, SubjectRecord

ME, ANNA, HANNE, JOHANNA, GONE, NEAR, FAR, TOKENS = (
    UUID(f"{number:08x}-0000-4000-8000-000000000000") for number in range(1, 9)
)
RECORDS = [
    SubjectRecord(kind="user", id=ME, name="Ann"),
    SubjectRecord(kind="user", id=ANNA, name="Anna"),
    SubjectRecord(kind="user", id=HANNE, name="Hanne"),
    SubjectRecord(kind="user", id=JOHANNA, name="Johanna"),
    SubjectRecord(kind="user", id=GONE, name="Annette", blocked=True),
    SubjectRecord(
        kind="group", id=NEAR, name="Annals", members=(ME, HANNE, GONE), members_kept=True
    ),
    SubjectRecord(kind="group", id=FAR, name="Anna", members=(JOHANNA,), members_kept=True),
]
#: What is looked for, and what is found in this order.
CASES = [
    ("", [NEAR, HANNE, TOKENS]),
    ("ann", [NEAR, HANNE]),
    ("HANN", [HANNE]),
    ("anna", [ANNA, FAR, NEAR]),
    ("Joh", []),
    (" johanna ", [JOHANNA]),
    (str(JOHANNA), [JOHANNA]),
    (JOHANNA.hex, [JOHANNA]),
    (str(TOKENS)[:8], [TOKENS]),
    (str(UUID(int=99)), []),
    ("annette", []),
    ("ann'", []),
]


CALLER = Subject(kind="user", id=ME, groups=frozenset({NEAR, TOKENS}))


@pytest.mark.parametrize(("text", "found"), CASES)
def test_who_is_found(text: str, found: list[UUID]) -> None:
    assert [one.id for one in found_subjects(view_of(RECORDS), CALLER, text, 10)] == found


def test_no_more_than_the_limit() -> None:
    assert [one.id for one in found_subjects(view_of(RECORDS), CALLER, "anna", 2)] == [ANNA, FAR]
    assert len(found_subjects(view_of(RECORDS), CALLER, "", 2)) == 2
