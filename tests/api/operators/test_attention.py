"""What needs an operator: each figure alone, the order, and the sentence about all of it."""

from typing import Any

import pytest

from api.doors.operators.attention import Figures, attention, health
from api.doors.operators.diagnostics import without_names
from api.doors.operators.overview import columns
from core.cluster import SeriesPoint


def node(**more: Any) -> dict[str, Any]:
    known = {"id": "n1", "version": "1", "alive": True, "silent_seconds": 1.0}
    return known | {"draining": False, "running": 0} | more


def volume(**more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"name": "v", "state": "ready", "state_reason": None, "nodes": []}
    known |= {"paused": False, "pause": None, "capacity": None, "lanes": [], "hidden": None}
    return known | more


def figures(**more: Any) -> Figures:
    known: dict[str, Any] = {"nodes": [node()], "volumes": [volume()], "failures": {}}
    return Figures(**(known | {"full_scopes": {}, "unpublished": 0} | more))


def lane(**more: Any) -> dict[str, Any]:
    return {"lane": "bulk", "waiting": 2, "oldest_seconds": 1200.0} | more


def space(used: int | None, size: int | None = 100, inodes: int | None = None) -> dict[str, Any]:
    known = {"used_bytes": used, "capacity_bytes": size}
    return volume(capacity=known | {"used_inodes": inodes, "inodes": 100})


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({}, []),
        ({"nodes": [node(alive=False, silent_seconds=9.0)]}, ["bad node-silent"]),
        ({"nodes": [node(alive=False, silent_seconds=None)]}, []),  # it went on purpose
        ({"nodes": [node(alive=False, silent_seconds=9999.0)]}, []),  # taken away long ago
        ({"nodes": [node(draining=True, running=2)]}, ["info node-draining"]),
        ({"nodes": [node(), node(id="n2", version="2")]}, ["info versions-differ"]),
        ({"volumes": [volume(state="away")]}, ["bad volume-away"]),
        ({"volumes": [volume(state="partly", state_reason="stale")]}, ["warn volume-partly"]),
        ({"volumes": [volume(paused=True)]}, ["warn volume-paused"]),
        ({"volumes": [space(89)]}, []),
        ({"volumes": [space(90)]}, ["warn volume-full"]),
        ({"volumes": [space(97)]}, ["bad volume-full"]),
        ({"volumes": [space(None)]}, []),
        ({"volumes": [space(9, None)]}, []),
        ({"volumes": [space(9, 100, 99)]}, ["bad volume-full"]),
        ({"volumes": [volume(lanes=[lane()])]}, ["warn queue-slow"]),
        ({"volumes": [volume(lanes=[lane(waiting=None)])]}, ["warn queue-slow"]),
        ({"volumes": [volume(lanes=[lane(oldest_seconds=None)])]}, []),
        ({"volumes": [volume(lanes=[lane()], paused=True)]}, ["warn volume-paused"]),
        ({"volumes": [volume(hidden={"trash_overdue_seconds": 4000.0})]}, ["warn sweep-late"]),
        ({"volumes": [volume(hidden={"staging_overdue_seconds": 9.0})]}, []),
        ({"failures": {"a": 2, "b": 1}}, ["warn jobs-failed"]),
        ({"full_scopes": {"v": 0, "w": 2}}, ["warn quota-near"]),
        ({"unpublished": 1}, ["warn ends-unpublished"]),
        ({"connections": (95, 100)}, ["bad store-connections"]),
        ({"connections": (5, 100)}, []),
    ],
)
def test_each_figure_is_said_when_it_matters(more: dict[str, Any], kinds: list[str]) -> None:
    found = attention(figures(**more))
    assert [f"{one.severity} {one.kind}" for one in found] == kinds
    assert all(one.text.endswith(".") and one.target for one in found)


def test_the_worst_comes_first_and_the_sentence_counts() -> None:
    found = attention(
        figures(
            nodes=[node(draining=True), node(id="n2", alive=False)],
            failures={"quota-exceeded": 2},
        )
    )
    assert [one.severity for one in found] == ["bad", "warn", "info"]
    assert "2 of quota-exceeded" in found[1].text
    assert health(found) == {"state": "bad", "text": "1 thing must be mended now."}
    assert health(found[1:])["state"] == "warn"
    assert health(found[2:])["state"] == "ok"


def test_a_pause_says_why() -> None:
    (found,) = attention(figures(volumes=[volume(paused=True, pause={"reason": "New disks."})]))
    assert (found.act, found.target) == ("resume", "volume:v")
    assert found.text == "The jobs of volume v are paused: New disks."


def test_columns_have_one_length_and_null_where_nothing_is_known() -> None:
    points = [
        SeriesPoint(at=1.0, received=2.5, volumes={"v": (1.0, 2.0)}),
        SeriesPoint(at=6.0, running=1, waiting=2, oldest=3.04),
    ]
    found = columns(points)
    assert found["received"] == [2, None]
    assert found["volumes"] == {"v": {"read": [1, None], "written": [2, None]}}
    assert (found["running"], found["oldest_seconds"]) == ([0, 1], [0.0, 3.0])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('{"path":"/srv/data","n":"/"}', ["/srv"]),
        ('{"value":"\\"/srv/data\\""}', ["/srv"]),
        ('{"scope":"user:00000000-0000-4000-8000-000000000001"}', ["00000000-"]),
        ('{"vfolder":"00000000000040008000000000000001"}', ["0000000000004000"]),
    ],
)
def test_a_bundle_hides_ids_and_paths_and_stays_json(text: str, plain: list[str]) -> None:
    hidden = without_names(text)
    assert not any(word in hidden for word in plain)
    assert hidden.count('"') == text.count('"')


def test_an_id_has_one_hash_with_and_without_hyphens() -> None:
    assert without_names("00000000-0000-4000-8000-000000000001") == without_names(
        "00000000000040008000000000000001"
    )
