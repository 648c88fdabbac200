"""What every array does alike: lives of scopes, lost answers, logins, mounts of something else."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from backends.base import HasQuota, Mount, capabilities
from backends.fs import layout
from backends.volumes import backend_factory
from contract.waiting import eventually
from core import errors
from simulators.shelf import Shelf
from simulators.systems import SYSTEMS, WITH_QUOTA
from tests.backends.systems.arrays.simulated import Array, running, scope, vfolder_on
from tests.backends.systems.arrays.watching import Watch

MIB = 1 << 20
THREADS = 50
REQUESTS_OF_A_CREATION, REQUESTS_OF_A_LOOK = 6, 2

#: The settings with which a scope lives and goes, of each array.
LIVES: dict[str, dict[str, dict[str, Any]]] = {
    "hammerspace": {
        "current": {},
        "403": {"expired_status": 403},
        "no limit is 0": {"no_limit": "0"},
        "no limit is empty": {"no_limit": ""},
        "visible late": {"visible_seconds": 0.3},
    },
    "netapp": {
        "current": {},
        "pages": {"page": 1},
        "202": {"never_inline": True, "job_seconds": 0.05},
        "forgotten jobs": {"never_inline": True, "job_kept_seconds": 0.0},
        "initialising": {"quota": "off", "initialising_seconds": 0.3},
        "off": {
            "quota": "off",
            "never_inline": True,
            "initialising_seconds": 0.2,
            "page": 2,
        },
        "late": {"visible_after_seconds": 1.0},
        "user of an SVM": {"cluster_user": False},
    },
    "weka": {
        "current": {},
        "pages": {"page": 1},
        "old lists": {"old_lists": True},
        "500 for nothing": {"missing_quota_status": 500},
    },
    "vast": {
        "current": {},
        "pages": {"page_max": 1},
        "tasks": {"tasks": True},
        "before 4.7": {"stat_path": False},
    },
    "dellemc-onefs": {
        "current": {},
        "pages": {"page_max": 1},
        "before 9.0": {"latest": "7"},
        "accounting stays": {"accounting_stays": True},
        "linked": {"linked_limit": MIB},
        "no right on licences": {"license": None},
    },
    "gpfs": {
        "current": {},
        "pages": {"page_max": 1},
        "slow jobs": {"polls": 3, "per_fileset": True},
        "link by itself": {"links": False},
        "old reads": {"lag_seconds": 3600.0, "refresh_seconds": 0.3},
        "busy": {"busy": 3, "per_fileset": True},
    },
}
#: Settings that cost more requests: lists in short pages, jobs that are looked up.
COSTLY_LOOKS = {("dellemc-onefs", "pages"), *(("netapp", what) for what in LIVES["netapp"])}
COSTLY_LOOKS -= {("netapp", "current")}
COSTLY_CREATIONS = {
    *COSTLY_LOOKS,
    *(("gpfs", what) for what in LIVES["gpfs"] if what != "current"),
    *(("dellemc-onefs", what) for what in LIVES["dellemc-onefs"] if what != "current"),
}
#: A creation by POST: the end of its path, and what the array then says that it did.
CREATIONS = [
    ("hammerspace", "/shares", "create share"),
    ("netapp", "/qtrees", "create qtree"),
    ("netapp", "/rules", "create rule"),
    ("vast", "/quotas", "create quota"),
    ("dellemc-onefs", "/quotas", "create quota"),
    ("gpfs", "/filesets", "create"),
]
LOST = ["drop after", "html 502 after", "truncate", "wrong json"]
#: Hammerspace answers a change without JSON, so that these change nothing there.
OF_JSON = {"truncate", "wrong json"}
#: Arrays with logins that expire, and the status of an expired one where there are several.
EXPIRING = [
    *[("weka", {}), ("vast", {}), ("dellemc-onefs", {})],
    *[(name, {"expired_status": s}) for name in ("hammerspace", "purestorage") for s in (401, 403)],
]
ALL = pytest.mark.parametrize("name", WITH_QUOTA)


class HidingShelf(Shelf):
    """A mount that never shows a snapshot."""

    def keep(self, path: str, room: str, name: str) -> None:
        """Show nothing."""

    def discard(self, path: str) -> None:
        if self.exists(path):
            super().discard(path)


def array(
    name: str, top: Path, shelf: type[Shelf] = Shelf, **settings: Any
) -> AbstractContextManager[Array[Any, Any]]:
    system = SYSTEMS[name]
    simulator = system.simulate(shelf(top), **settings)
    return running(simulator, top, backend_factory(name), system.options)


def elsewhere(name: str, it: Array[Any, Any], top: Path) -> Any:
    """Return a backend on the array, whose mount is another directory."""
    return backend_factory(name)(Mount("array", top, it.backend.mount.options))


@pytest.fixture
def tops(tmp_path: Path) -> tuple[Path, Path]:
    """The directory of an array, and another one."""
    made = tmp_path / "top", tmp_path / "other"
    for top in made:
        top.mkdir()
    return made


# -- Scopes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "what"), [(name, what) for name, kinds in LIVES.items() for what in kinds]
)
def test_a_scope_lives_and_goes(name: str, what: str, tmp_path: Path) -> None:
    with array(name, tmp_path, **LIVES[name][what]) as it:
        backend, unit = it.backend, SYSTEMS[name].unit_bytes
        if name != "netapp" or what == "current":  # others begin with quota off
            backend.probe()
            eventually(lambda: "quota" in capabilities(backend))
        for _ in range(2):
            backend.create_scope(scope())
        others, one = dict(it.simulator.quotas), scope()
        asked = requests(name, it)
        backend.create_scope(one, 3 * MIB + 1)
        if (name, what) not in COSTLY_CREATIONS:
            assert requests(name, it) - asked <= REQUESTS_OF_A_CREATION
        asked = requests(name, it)
        found = backend.describe_scope(one)
        if (name, what) not in COSTLY_LOOKS:
            assert requests(name, it) - asked <= REQUESTS_OF_A_LOOK
        rounded = -(-(3 * MIB + 1) // unit) * unit
        assert (found.limit_bytes, found.requested_bytes) == (rounded, 3 * MIB + 1)
        assert found.enforced == "hard"
        backend.set_limit(one, 5 * MIB)
        assert backend.describe_scope(one).limit_bytes == 5 * MIB
        backend.unset_limit(one)
        found = backend.describe_scope(one)
        assert (found.limit_bytes, found.used_bytes, found.enforced) == (None, 0, None)
        backend.set_limit(one, 2 * MIB)
        assert backend.describe_scope(one).enforced == "hard"
        backend.delete_scope(one)
        with pytest.raises(errors.QuotaScopeNotFound):
            backend.delete_scope(one)
        assert it.simulator.quotas.keys() == others.keys()
        assert not (tmp_path / one.directory).exists()


def requests(name: str, it: Array[Any, Any]) -> int:
    """Return how many requests were sent, without those that wait for a task."""
    waits = SYSTEMS[name].waits
    return sum(not any(text in entry.path for text in waits) for entry in it.server.journal)


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize(("name", "path", "effect"), CREATIONS)
def test_a_creation_whose_answer_is_lost_is_looked_up(
    name: str, path: str, effect: str, fault: str, tmp_path: Path
) -> None:
    if name == "hammerspace" and fault in OF_JSON:
        pytest.skip("its answer has no JSON")
    with array(name, tmp_path) as it:
        one = scope()
        it.server.faults.next(fault, "POST", path)
        it.backend.create_scope(one, MIB)
        assert it.server.faults.happened == [fault]
        sent = [entry.path.rstrip("/") for entry in it.server.asked("POST", path)]
        assert len([each for each in sent if each.endswith(path)]) == 1
        assert len([each for each in it.simulator.effects if each.startswith(effect)]) == 1
        assert it.backend.describe_scope(one).limit_bytes == MIB


@pytest.mark.parametrize("name", [name for name, one in WITH_QUOTA.items() if one.counting])
def test_what_was_there_is_counted_by_and_by(name: str, tmp_path: Path) -> None:
    with array(name, tmp_path, **{SYSTEMS[name].counting: 3600.0}) as it:
        one = scope()
        (tmp_path / one.directory).mkdir()
        (tmp_path / one.directory / "old").write_bytes(b"x" * MIB)
        it.backend.set_limit(one, 8 * MIB)
        found = it.backend.describe_scope(one)
        assert (found.limit_bytes, found.used_bytes, found.enforced) == (8 * MIB, None, None)
        it.simulator.count_all()
        eventually(lambda: it.backend.describe_scope(one).used_bytes == MIB)


# -- Absence ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [name for name in WITH_QUOTA if name != "gpfs"])
def test_a_directory_removed_by_hand_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    """On Storage Scale no one can: a directory where a fileset is linked stays."""
    with array(name, tmp_path) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        (tmp_path / one.directory).rmdir()
        with pytest.raises(errors.QuotaScopeNotFound):
            it.backend.describe_scope(one)
        it.backend.delete_scope(one)
        assert it.simulator.quotas == {}
        it.backend.create_scope(one)
        assert it.backend.describe_scope(one).limit_bytes is None


@ALL
def test_nothing_is_removed_through_a_mount_of_something_else(
    name: str, tops: tuple[Path, Path]
) -> None:
    top, other = tops
    with array(name, top) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        (top / one.directory / "kept").write_bytes(b"x")
        lost = elsewhere(name, it, other)
        for call in (lost.probe, lambda: lost.delete_scope(one), lambda: lost.set_limit(one, 1)):
            with pytest.raises(errors.BackendFailed, match="not the array's"):
                call()
        assert (top / one.directory / "kept").read_bytes() == b"x"
        assert it.backend.describe_scope(one).limit_bytes == MIB


@ALL
def test_nothing_is_removed_that_only_the_mount_does_not_show(
    name: str, tops: tuple[Path, Path]
) -> None:
    """The mount has a stale entry, or it shows another directory of the array."""
    words = {"gpfs": "still has its fileset linked", "hammerspace": "has files in it"}
    top, other = tops
    with array(name, top) as it:
        one = scope()
        it.backend.create_scope(one, MIB)
        (top / one.directory / "kept").write_bytes(b"x")
        (mark,) = (top / layout.HIDDEN).glob("volume-*")
        (other / layout.HIDDEN / mark.name).mkdir(parents=True)
        lost = elsewhere(name, it, other)
        with pytest.raises(
            errors.StorageError, match=words.get(name, "still has its directory")
        ) as caught:
            lost.delete_scope(one)
        assert not isinstance(caught.value, errors.QuotaScopeNotFound)
        assert (top / one.directory / "kept").read_bytes() == b"x"
        assert it.backend.describe_scope(one).limit_bytes == MIB


@pytest.mark.parametrize("name", [name for name, one in WITH_QUOTA.items() if one.elsewhere])
def test_a_mount_of_something_else_is_noticed(name: str, tmp_path: Path) -> None:
    with (
        array(name, tmp_path) as it,
        pytest.raises(errors.BackendFailed, match="not the array's"),
    ):
        it.another(**SYSTEMS[name].elsewhere or {}).probe()


# -- Logins ----------------------------------------------------------------------------------------
def at_once(call: Callable[[], Any]) -> set[Any]:
    """Return what a call returns to many threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return set(pool.map(lambda _: call(), range(THREADS)))


def refusal(call: Callable[[], Any]) -> str:
    """Return the text of the refusal of a call."""
    with pytest.raises(errors.BackendFailed) as error:
        call()
    return error.value.detail


@pytest.mark.parametrize(("name", "settings"), EXPIRING)
def test_many_threads_log_in_once_per_expiry(
    name: str, settings: dict[str, Any], tmp_path: Path, watch: Watch
) -> None:
    with array(name, tmp_path, **settings) as it:
        sim, one = it.simulator, scope()
        limited = it.backend.skill(HasQuota) is not None
        it.backend.create_scope(one, MIB)

        def ask() -> int | None:
            found: Any = it.backend.describe_scope(one) if limited else it.backend.array_capacity()
            size: int | None = found.limit_bytes if limited else found.capacity_bytes
            return size

        expected = {ask()}
        renews = hasattr(sim, "refreshes")
        for expiry in range(1, 4):
            sim.expire()
            assert at_once(ask) == expected
            assert (sim.logins, sim.refreshes if renews else expiry) == (
                1 if renews else 1 + expiry,
                expiry,
            )
        if renews:
            sim.expire()
            sim.forget_refreshes()
            assert at_once(ask) == expected
            assert sim.logins == 2
        watch.holds(SYSTEMS[name].secret, *sim.tokens)


@pytest.mark.parametrize(
    ("name", "more"), [*((name, {}) for name in SYSTEMS), ("dellemc-onefs", {"dell_auth": "basic"})]
)
def test_a_login_that_is_refused_is_tried_once(
    name: str, more: dict[str, Any], tmp_path: Path, watch: Watch
) -> None:
    """Some arrays lock the account after a few wrong passwords."""
    with array(name, tmp_path) as it:
        mine = it.another(**{SYSTEMS[name].secret_option: "wr0ng", **more})
        refusals = at_once(lambda: refusal(mine.array_capacity))
        assert not any("wr0ng" in words for words in refusals)
        assert it.simulator.wrong_passwords == 1
        with pytest.raises(errors.AccessRefused):
            mine.array_capacity()
        it.backend.array_capacity()
        watch.holds("wr0ng", SYSTEMS[name].secret)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("hammerspace", {}, "no right for GET"),
        ("vast", {}, "permission"),
        ("dellemc-onefs", {"license": None}, "ISI_PRIV_QUOTA"),
        ("gpfs", {}, "not authorized"),
    ],
)
def test_a_missing_right_is_no_expired_login(
    name: str, settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with array(name, tmp_path, permitted=False, **settings) as it:
        assert "quota" not in capabilities(it.backend)
        refusals = at_once(lambda: refusal(lambda: it.backend.create_scope(scope(), MIB)))
        assert all(words in each for each in refusals)
        assert it.simulator.logins == (0 if name == "gpfs" else 1), "it has no logins"


# -- Snapshots -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_snapshot_that_the_mount_hides_is_deleted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with array(name, tmp_path, HidingShelf) as it:
        monkeypatch.setattr(type(it.backend), "showing_seconds", 0.0)
        one = vfolder_on(it.backend)
        for _ in range(2):
            with pytest.raises(errors.Conflict, match="the mount does not show it"):
                it.backend.create_snapshot(one, "first")
            assert it.backend.list_snapshots(one) == []
