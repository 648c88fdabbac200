"""Thresholds: reached at exactly their share, and each rise is published once."""

from pathlib import Path

import pytest

from core.quota import Thresholds
from core.quota.thresholds import PERCENTS, level
from tests.support.doors import settings_in
from tests.support.valkey import Valkey


@pytest.mark.parametrize("percent", PERCENTS)
def test_a_threshold_is_reached_at_exactly_its_share(percent: int) -> None:
    below = [known for known in PERCENTS if known < percent]
    for limit in (100, 10_000, 10**18):
        share = limit // 100 * percent
        assert level(share, limit) == percent
        assert level(share - 1, limit) == max(below, default=0)


def test_a_share_that_is_no_whole_number_is_not_rounded_down() -> None:
    assert level(8, 11) == 0
    assert level(9, 11) == 80
    assert level(0, 0) == PERCENTS[-1]


def test_each_rise_is_published_once(tmp_path: Path, valkey: Valkey) -> None:
    checks = Thresholds(settings_in(tmp_path, valkey.url))
    used = [79, 80, 85, 90, 89, 90, 100, 10, 80]
    rises = [checks.check("v", "scope", bytes_used, 100) for bytes_used in used]
    assert rises == [False, True, False, True, False, True, True, False, True]
