"""Attributes of files as metadata of objects: what we write, rclone and s3fs read, and back."""

import os
import stat
from pathlib import Path

import pytest

from core.errors import BackendFailed
from workers.verbs.object_attributes import (
    ObjectAttributes,
    attributes_of,
    link_text,
    metadata_of,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "f").chmod(0o640)
    for ns in (1_700_000_000_123_456_789, 1, -1, 0):
        os.utime(tmp_path / "f", ns=(0, ns))
        status = os.stat(tmp_path / "f")
        found = attributes_of(metadata_of(status))
        assert found == ObjectAttributes(status.st_mode, ns, status.st_uid, status.st_gid)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("33188", stat.S_IFREG | 0o644),  # s3fs
        ("16877", stat.S_IFDIR | 0o755),
        ("41471", stat.S_IFLNK | 0o777),
        ("100644", stat.S_IFREG | 0o644),  # rclone
        ("40755", stat.S_IFDIR | 0o755),
        ("120777", stat.S_IFLNK | 0o777),
        ("644", None),
        ("", None),
        ("x", None),
        ("-33188", None),
        ("9" * 400, None),
    ],
)
def test_modes_of_both_are_read(text: str, mode: int | None) -> None:
    assert attributes_of({"mode": text}).mode == mode


@pytest.mark.parametrize("text", ["", "x", "-1", "²", "4294967295", "4294967296", "9" * 2000])
def test_ids_that_nobody_can_have_are_not_said(text: str) -> None:
    """chown(2) would not take them, and the job would end for one object that anyone wrote."""
    found = attributes_of({"uid": text, "gid": text})
    assert (found.uid, found.gid) == (None, None)
    assert attributes_of({"uid": "4294967294"}).uid == 4_294_967_294


def test_a_link_without_a_target_is_a_fault_of_its_object() -> None:
    assert link_text(b"a/\xff") == "a/\udcff"
    for content in (b"", b"a\0b"):
        with pytest.raises(BackendFailed):
            link_text(content)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e999999"])
def test_times_that_are_none_are_not_said(text: str) -> None:
    assert attributes_of({"mtime": text}).mtime_ns is None


def test_rclone_and_s3fs_write_times_with_and_without_a_fraction() -> None:
    assert attributes_of({"mtime": "1354040105.5"}).mtime_ns == 1_354_040_105_500_000_000
    assert attributes_of({"mtime": "1354040105"}).mtime_ns == 1_354_040_105_000_000_000
