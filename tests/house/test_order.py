"""The list of files that begin first names files that exist."""

from pathlib import Path

from tests import conftest

ROOT = Path(__file__).resolve().parents[2]


def test_the_longest_files_exist() -> None:
    assert not [name for name in conftest._FIRST if not (ROOT / name).is_file()]
