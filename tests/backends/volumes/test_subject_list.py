"""The list of all users and groups: pages of many, by name, by id, each once."""

from bisect import bisect_right
from uuid import UUID, uuid4

from msgspec import structs

from backends.volumes.access.subject_index import IndexView, view_of
from backends.volumes.access.subject_list import (
    ListedSubject,
    SubjectFilter,
    Words,
    listed_subjects,
)
from core.access import SubjectRecord

NAMED, WITH_KEY, OF_FOLDERS, MEMBERS = 20_000, 3000, 30_000, 500


def user(name: str = "", **more: object) -> SubjectRecord:
    return structs.replace(SubjectRecord(kind="user", id=uuid4()), name=name, **more)


def group(name: str, *members: UUID) -> SubjectRecord:
    record = SubjectRecord(kind="group", id=uuid4(), name=name)
    return structs.replace(record, members=members, members_kept=True)


def words_in(words: set[str]) -> Words:
    """An index of vfolders that has these words."""
    ordered = sorted(words)

    def page(prefix: str, after: str, limit: int) -> list[str]:
        begin = bisect_right(ordered, after)
        return [one for one in ordered[begin:] if one.startswith(prefix)][:limit]

    return page


def everyone(
    view: IndexView, words: Words, wanted: SubjectFilter, limit: int
) -> list[ListedSubject]:
    """All pages."""
    found = list[ListedSubject]()
    while True:
        page = listed_subjects(view, words, wanted, found[-1].place if found else None, limit)
        found += page
        if len(page) < limit:
            return found


def test_pages_of_many_have_each_once_and_in_order() -> None:
    named = [user(f"Person {number}") for number in range(NAMED)]
    keyed = [user() for _ in range(WITH_KEY)]
    members = tuple(uuid4() for _ in range(MEMBERS))
    records = [*named, *keyed, group("nlp", *members)]
    of_folders = {f"user:{uuid4()}" for _ in range(OF_FOLDERS)}
    # Those with a name and a key have vfolders, too, and are listed once all the same.
    known = {f"user:{one.id}" for one in (*named[:5000], *keyed)}
    found = everyone(view_of(records), words_in(of_folders | known), SubjectFilter(), 10_000)
    listed = [one.word for one in found]
    assert len(listed) == len(set(listed)) == NAMED + WITH_KEY + OF_FOLDERS + MEMBERS + 1
    assert [one.place for one in found] == sorted(one.place for one in found)
    assert found[0].name == "nlp"
    assert found[0].members == MEMBERS


def test_filters_are_for_all_and_not_for_a_page() -> None:
    ada = user("Ada", blocked=True)
    others = [user(f"Bob {number}") for number in range(50)]
    nameless = uuid4()
    view = view_of([*others, ada, group("Adamants")])
    words = words_in({f"user:{nameless}", f"group:{uuid4()}"})

    def found(**wanted: object) -> list[str]:
        return [
            one.name or str(one.id)
            for one in everyone(view, words, SubjectFilter(**wanted), 7)  # type: ignore[arg-type] # a test
        ]

    assert found(text="aDA") == ["Ada", "Adamants"]
    assert found(text="ada", kind="user") == ["Ada"]
    assert found(blocked=True) == ["Ada"]
    assert found(text=str(nameless)[:18]) == [str(nameless)]
    assert found(text=str(ada.id)) == ["Ada"]
    assert len(found(kind="group")) == 2
    assert found(text="user:") == found(text="\udc80") == []
