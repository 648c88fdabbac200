"""The sizes of parts: every object up to 5 TiB fits into 10,000 of them."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.systems.s3 import ObjectRefused, part_size
from backends.systems.s3.multipart import (
    OBJECT_BYTES_MAX,
    PART_BYTES,
    PART_BYTES_MAX,
    PART_BYTES_MIN,
    PARTS_MAX,
    FileSlice,
    growing_part_size,
    ranges,
)


@given(st.integers(0, OBJECT_BYTES_MAX))
def test_an_object_fits_into_its_parts(size: int) -> None:
    each = part_size(size)
    assert PART_BYTES_MIN <= each <= PART_BYTES_MAX
    assert -(-size // each) <= PARTS_MAX


def test_nothing_is_bigger() -> None:
    assert part_size(OBJECT_BYTES_MAX) == 525 << 20
    with pytest.raises(ObjectRefused):
        part_size(OBJECT_BYTES_MAX + 1)


def test_a_stream_of_unknown_length_may_be_as_big() -> None:
    sizes = [growing_part_size(number) for number in range(1, PARTS_MAX + 1)]
    assert sizes == sorted(sizes)
    total, number = 0, 0
    while total < OBJECT_BYTES_MAX:
        total += sizes[number]
        number += 1
    assert number < PARTS_MAX
    assert sizes[number - 1] <= 4 << 30
    assert sum(sizes[:2_000]) == 2_000 * PART_BYTES


def test_ranges_follow_each_other() -> None:
    assert ranges(10, 4) == [(1, 0, 4), (2, 4, 4), (3, 8, 2)]
    assert ranges(8, 4) == [(1, 0, 4), (2, 4, 4)]
    assert ranges(0, 4) == []


def test_a_slice_is_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with (tmp_path / "f").open("rb") as file:
        one = FileSlice(file.fileno(), 2, 5)
        assert one.seek(0, os.SEEK_END) == 5
        assert one.seek(0) == 0
        assert (one.read(2), one.read()) == (b"23", b"456")
        assert one.seek(1, os.SEEK_SET) == 1
        assert one.read(9) == b"3456"
        assert one.read(1) == b""


def test_a_file_that_became_shorter_is_no_shorter_slice(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with (tmp_path / "f").open("rb") as file:
        one = FileSlice(file.fileno(), 8, 5)
        assert one.read(2) == b"89"
        with pytest.raises(ObjectRefused):
            one.read(1)
