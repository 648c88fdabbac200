"""What a one-way synchronization would do, as a table: what both sides have, and the steps."""

import pytest

from vfolder_client.content.plans import DIRECTORY, FILE, OTHER, Known, Plan, above, plan_of

D, LINK = Known(DIRECTORY), Known(OTHER)


def f(size: int = 1) -> Known:
    return Known(FILE, size)


def by_size(_: str, here: Known, there: Known) -> str | None:
    return None if here.size_bytes == there.size_bytes else "size"


def steps(plan: Plan) -> list[str]:
    return [f"{one.kind} {one.path} {one.reason}" for one in plan.actions]


@pytest.mark.parametrize(
    ("source", "target", "done", "deleted"),
    [
        ({}, {}, [], []),
        ({"a": f(), "b": f(2)}, {"a": f(), "b": f()}, ["copy b size"], []),
        ({"d": D, "d/x": f()}, {}, ["mkdir d new", "copy d/x new"], []),
        # only the top of what is gone, and never what lies beside it
        (
            {"a": D, "a-b": f()},
            {"a": D, "a/x": D, "a/x/y": f(), "a-b": f(), "a-c": f()},
            [],
            ["delete a-c extra", "delete a/x extra"],
        ),
        # a symlink of the source keeps what has its name
        ({"l": LINK}, {"l": D, "l/x": f()}, [], []),
        # a symlink of the target is extra like a file
        ({}, {"l": LINK}, [], ["delete l extra"]),
    ],
)
def test_steps(
    source: dict[str, Known], target: dict[str, Known], done: list[str], deleted: list[str]
) -> None:
    assert steps(plan_of(source, target, by_size, delete=False)) == done
    assert steps(plan_of(source, target, by_size, delete=True)) == done + deleted


@pytest.mark.parametrize(
    ("source", "target", "copied"),
    [
        ({"p": f()}, {"p": D, "p/x": f()}, ["copy p new"]),
        ({"p": D, "p/x": f()}, {"p": f()}, ["mkdir p new", "copy p/x new"]),
        ({"p": D, "p/x": f()}, {"p": LINK}, ["mkdir p new", "copy p/x new"]),
    ],
)
def test_another_kind_stays_unless_it_may_be_removed(
    source: dict[str, Known], target: dict[str, Known], copied: list[str]
) -> None:
    kept = plan_of(source, target, by_size, delete=False)
    assert (steps(kept), [path for path, _ in kept.refused]) == ([], ["p"])
    assert steps(plan_of(source, target, by_size, delete=True)) == ["delete p kind", *copied]


def test_directories_above() -> None:
    assert list(above("a/b/c")) == ["a", "a/b"]
    assert list(above("a")) == []
