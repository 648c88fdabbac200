"""What is this backend's own. The contract that it shares with all others has its own suite."""

import os
from pathlib import Path

import msgspec
import pytest
from vfolder_backend_template import STATUS_AGE_MAX_SECONDS, TemplateBackend

from backends.base import HasMetric, Mount, PerformanceMetric, capabilities
from backends.volumes import create_backend
from core.errors import BackendFailed, ConfigurationError

RATES = PerformanceMetric(
    iops_read=120,
    iops_write=40,
    io_bytes_read=3 << 20,
    io_bytes_write=1 << 20,
    io_usec_read=210.5,
    io_usec_write=840.0,
)


@pytest.fixture
def status_file(tmp_path: Path) -> Path:
    return tmp_path / "status.json"


@pytest.fixture
def backend(tmp_path: Path, status_file: Path) -> TemplateBackend:
    top = tmp_path / "volume"
    top.mkdir()
    return TemplateBackend(Mount("shelf", top, {"status_file": str(status_file)}))


def test_fresh_rates_are_a_capability(backend: TemplateBackend, status_file: Path) -> None:
    assert backend.skill(HasMetric) is backend
    assert capabilities(backend) == ["vfolder"]
    status_file.write_bytes(msgspec.json.encode(RATES))
    assert capabilities(backend) == ["vfolder", "metric"]
    assert backend.performance() == RATES


def test_old_rates_are_refused(backend: TemplateBackend, status_file: Path) -> None:
    status_file.write_bytes(msgspec.json.encode(RATES))
    old = status_file.stat().st_mtime - 2 * STATUS_AGE_MAX_SECONDS
    os.utime(status_file, (old, old))
    with pytest.raises(BackendFailed, match="seconds old"):
        backend.performance()
    assert capabilities(backend) == ["vfolder"]


def test_a_file_that_is_not_as_described_is_refused(
    backend: TemplateBackend, status_file: Path
) -> None:
    status_file.write_bytes(b'{"iops_read": "many"}')
    with pytest.raises(BackendFailed, match="cannot be read"):
        backend.performance()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"status_file": "relative.json"},
        {"status_file": 1},
        {"status_file": "/run/status.json", "status_fil": "/run/status.json"},
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, options: dict[str, object]) -> None:
    """Vfolder makes the backend so: the options are checked first, as their class says."""
    with pytest.raises(ConfigurationError, match="status_fil"):
        create_backend("template", Mount("shelf", tmp_path, options))
