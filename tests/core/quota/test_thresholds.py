"""Thresholds: reached at exactly their share, and each rise is published once."""

from pathlib import Path
from uuid import uuid4

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
    assert rises == [False, True, False, True, False, False, True, False, True]


@pytest.mark.parametrize(
    ("used", "rises"),
    [
        ([80, 79, 80, 76, 80], 1),
        ([80, 75, 80], 1),
        ([80, 74, 80], 2),
        ([95, 90, 95], 1),
        ([95, 89, 95], 2),
        ([100, 95, 100, 94, 100], 2),
        ([100, 0, 100], 2),
    ],
    ids=str,
)
def test_going_up_and_down_at_a_threshold_is_published_once(
    tmp_path: Path, valkey: Valkey, used: list[int], rises: int
) -> None:
    checks = Thresholds(settings_in(tmp_path, valkey.url))
    scope = uuid4().hex
    assert sum(checks.check("v", scope, bytes_used, 100) for bytes_used in used) == rises


def test_an_unknown_usage_publishes_nothing(tmp_path: Path, valkey: Valkey) -> None:
    checks = Thresholds(settings_in(tmp_path, valkey.url))
    scope = uuid4().hex
    assert checks.check("v", scope, 100, 100)
    assert not checks.check("v", scope, None, 100)
    assert checks.check("v", scope, 100, 100)
