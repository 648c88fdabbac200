"""The threads that prove volumes and call services: they end when their owner is stopped."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import manager_door
from backends.volumes import Mounts
from core.settings import Settings
from tests.support.doors import closing, settings_in
from tests.support.node import wait_for

SECOND = """
[volume.second]
backend = "vfs"
path = "second"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "second").mkdir()
    return settings_in(tmp_path, more=SECOND)


@pytest.fixture
def before() -> Iterator[set[threading.Thread]]:
    """The threads before the test; after it, there are no others."""
    found = set(threading.enumerate())
    yield found
    wait_for(lambda: set(threading.enumerate()) <= found, failure="threads are left")


def names_of_new(before: set[threading.Thread]) -> set[str]:
    return {thread.name for thread in set(threading.enumerate()) - before}


def test_each_volume_has_a_thread_until_the_stop(
    settings: Settings, before: set[threading.Thread]
) -> None:
    mounts = Mounts(settings)
    mounts.start()
    assert names_of_new(before) == {"prove local", "prove second"}
    assert all(volume.proven for volume in mounts.volumes().values())
    mounts.stop()


def test_after_the_stop_nothing_begins(
    settings: Settings, tmp_path: Path, before: set[threading.Thread]
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    mounts = Mounts(settings_in(alone))
    mounts.start()
    mounts.stop()
    mounts.follow(settings)
    assert set(mounts.states()) == {"local", "second"}
    assert "prove second" not in names_of_new(before)
    never = Mounts(settings)
    never.stop()
    never.start(wait=False)
    assert not names_of_new(before) & {"prove second"}


def test_a_door_that_is_closed_leaves_none(
    settings: Settings, before: set[threading.Thread]
) -> None:
    with closing(manager_door(settings)) as app:
        assert app.test_client().get("/health").status_code == 200
        assert {"prove local", "prove second", "health redis jobs"} <= names_of_new(before)
