"""The lists of files that begin first, and that run together, name files and scopes that exist."""

from pathlib import Path

from tests import conftest
from tests.support.shared_scopes import STACK, scope_of

ROOT = Path(__file__).resolve().parents[2]
#: A test of the contract on CephFS, as pytest names it.
ON_CEPHFS = "tests/contract/test_site.py::test_x[cephfs]"


def files() -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}


def test_the_longest_files_exist() -> None:
    scopes = {scope_of(name) for name in (*files(), ON_CEPHFS)}
    assert not set(conftest._FIRST) - scopes


def test_the_files_that_share_a_node_exist() -> None:
    assert not STACK - files()


def test_a_file_of_its_own_is_a_scope_of_its_own() -> None:
    alone = "tests/house/test_order.py"
    assert scope_of(f"{alone}::test_x") == alone
    assert scope_of(ON_CEPHFS.replace("cephfs", "radosgw")) == scope_of(ON_CEPHFS)
    assert scope_of(ON_CEPHFS.replace("cephfs", "vfs")) == "tests/contract/test_site.py"
