"""Benchmarks: every one can be imported, and archives are made as the doors do; mypy reads all."""

from importlib import import_module
from pathlib import Path

import pytest

from backends.archives import FORMATS
from benchmarks import archives
from benchmarks.__main__ import benchmarks


def test_every_benchmark_says_what_it_measures_and_can_be_imported() -> None:
    found = benchmarks()
    assert "archives" in found
    for name, purpose in found.items():
        assert purpose.strip(), name
        assert callable(import_module(f"benchmarks.{name}").main), name


@pytest.mark.parametrize("form", FORMATS)
def test_archives_are_made(tmp_path: Path, form: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/small").write_bytes(b"x" * 100)
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    archives._pack(tmp_path, form)
