"""Groups of small objects that one thread moves."""

from itertools import chain

from backends.entries import ObjectEntry
from workers.verbs.object_fetch import BESIDE, GROUP_BYTES, GROUP_ITEMS, grouped
from workers.verbs.object_transfer import counted


def sizes(items: list[int]) -> list[int]:
    """The numbers of items of the groups."""
    groups = list(grouped(items, lambda one: one))
    assert list(chain.from_iterable(groups)) == items
    return [len(group) for group in groups]


def test_few_items_are_moved_beside_each_other() -> None:
    assert sizes([]) == []
    assert sizes([1] * BESIDE) == [1] * BESIDE


def test_groups_grow_to_their_most() -> None:
    found = sizes([1] * 1_000)
    assert found[: BESIDE + 2] == [1] * BESIDE + [2, 2]
    assert max(found) == GROUP_ITEMS


def test_big_items_end_their_group() -> None:
    assert sizes([1] * 1_000 + [GROUP_BYTES] * 3)[-2:] == [1, 1]


def test_few_objects_are_listed_once() -> None:
    """What the count has seen is kept for the copy while it is little."""
    objects = [ObjectEntry(str(n), None, n, "etag", None) for n in range(4)]
    looks: list[int] = []
    for most, kept in ((4, objects), (3, None), (0, None)):
        found = counted(iter(objects), lambda: looks.append(1), most)
        assert found == (4, 6, kept)
    assert len(looks) == 3 * len(objects)
    assert counted(iter(()), list) == (0, 0, [])
