"""What a process remembers ends, and never grows without bound."""

from api.http import Remembered


def test_a_value_ends_and_a_newer_one_lives_longer() -> None:
    now = 100.0
    kept = Remembered[str](1.0, 10, lambda: now)
    assert kept.get("key") is None
    kept.add("key", "old")
    now += 0.9
    assert kept.get("key") == "old"
    kept.add("key", "new")
    now += 0.9
    assert kept.get("key") == "new"
    now += 0.1
    assert kept.get("key") is None


def test_the_oldest_goes_first() -> None:
    kept = Remembered[int](1.0, 3, lambda: 100.0)
    for number in (0, 1, 0, 2, 3):
        kept.add(number, number)
    assert [kept.get(number) for number in range(4)] == [0, None, 2, 3]
