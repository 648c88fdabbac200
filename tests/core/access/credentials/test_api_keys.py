"""API keys: typing errors, foreign and ended keys are refused; no key makes one that may more."""

import random
import re
from uuid import uuid4

import msgspec
import pytest
from msgspec import structs

from core.access import Scope
from core.access.credentials import keys
from core.access.credentials.issuers import CredentialRefused
from core.access.credentials.keys import ApiKey, KeyRequest
from core.errors import AccessForbidden, Conflict, InvalidParameters, StorageError
from core.settings import AccessTable

NOW = 1_800_000_000.0
HERE = "192.0.2.7"
TABLE = AccessTable()
READ = (Scope.FILES_READ,)


def made(**request: object) -> tuple[ApiKey, str]:
    asked = KeyRequest(**{"scopes": READ, **request})  # type: ignore[arg-type] # each has its own type
    return keys.new_key(asked, operator=False, table=TABLE, now=NOW)


def refused(text: str, key: ApiKey | None, now: float = NOW, address: str = HERE) -> str:
    with pytest.raises(CredentialRefused) as error:
        keys.check_secret(keys.parsed(text), key, now, address)
    return error.value.reason


def test_a_key_has_its_form_and_its_secret_is_not_kept() -> None:
    key, text = made(name="laptop")
    assert re.fullmatch(r"vfk_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", text)
    kept = msgspec.json.encode(key).decode()
    secret = text.split("_")[2][:43]
    assert secret not in kept
    assert keys.check_secret(keys.parsed(text), key, NOW, HERE) is key
    assert msgspec.json.decode(kept, type=ApiKey) == key
    assert len({made()[1] for _ in range(100)}) == 100


def test_every_typing_error_is_refused_without_a_look() -> None:
    _, text = made()
    for place in range(len(text)):
        for wrong in (
            text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :],
            text[:place] + text[place + 1 :],
        ):
            with pytest.raises(CredentialRefused) as error:
                keys.parsed(wrong)
            assert error.value.reason in ("checksum", "malformed")
    for wrong in ("", "vfk_", text + "0", text.upper(), f" {text}", f"{text}\n", "é" * 70):
        with pytest.raises(CredentialRefused):
            keys.parsed(wrong)


def test_a_key_that_is_not_there_takes_the_same_answer() -> None:
    key, text = made()
    _, foreign = made()
    assert refused(foreign, None) == "unknown"
    assert refused(foreign, key) == "secret"
    assert refused(text, structs.replace(key, revoked_at=NOW - 1)) == "revoked"
    assert refused(text, key, now=key.expires_at) == "expired"
    assert refused(foreign, structs.replace(key, revoked_at=NOW)) == "secret", "no oracle"


@pytest.mark.parametrize(
    ("networks", "address", "taken"),
    [
        (("192.0.2.0/24",), HERE, True),
        (("192.0.2.0/24",), f"::ffff:{HERE}", True),
        (("198.51.100.0/24", "192.0.2.7/32"), HERE, True),
        (("198.51.100.0/24",), HERE, False),
        (("2001:db8::/32",), "2001:db8::1", True),
        (("2001:db8::/32",), "fe80::1%eth0", False),
        (("0.0.0.0/0",), "", False),
        (("0.0.0.0/0",), "not an address", False),
    ],
)
def test_a_key_is_good_in_its_networks(
    networks: tuple[str, ...], address: str, *, taken: bool
) -> None:
    key, text = made(networks=networks)
    if taken:
        assert keys.check_secret(keys.parsed(text), key, NOW, address) is key
    else:
        assert refused(text, key, address=address) == "network"


def test_only_a_secret_that_was_good_once_is_no_guess() -> None:
    key, text = made()
    other, wrong = made()
    new, _ = keys.rotated(key, NOW, 100)
    tries = [
        (text, structs.replace(key, revoked_at=NOW), NOW, True),
        (text, key, key.expires_at, True),
        (text, new, NOW + 100, True),
        (wrong, structs.replace(key, id=other.id), NOW, False),
        (text, None, NOW, False),
    ]
    for given, held, now, genuine in tries:
        with pytest.raises(CredentialRefused) as error:
            keys.check_secret(keys.parsed(given), held, now, HERE)
        assert error.value.genuine is genuine


def test_after_a_rotation_both_secrets_count_for_the_overlap() -> None:
    key, old = made()
    new, text = keys.rotated(key, NOW, 100)
    assert (new.id, new.expires_at) == (key.id, key.expires_at)
    for good in (old, text):
        assert keys.check_secret(keys.parsed(good), new, NOW + 99, HERE) is new
    assert keys.check_secret(keys.parsed(text), new, NOW + 100, HERE) is new
    assert refused(old, new, now=NOW + 100) == "replaced"
    at_once, _ = keys.rotated(key, NOW, 0)
    assert refused(old, at_once) == "secret"
    again, _ = keys.rotated(new, NOW, 100)
    assert refused(old, again) == "secret", "only the last one overlaps"
    for wrong, error in (
        (structs.replace(key, revoked_at=NOW), Conflict),
        (key, InvalidParameters),
    ):
        with pytest.raises(error):
            keys.rotated(wrong, NOW, -1)


def test_a_sign_in_ends_with_the_secret_that_made_it() -> None:
    """Who stole a secret may have signed in; a rotation puts an end to that, too."""
    key, _ = made()
    assert key.keeps(NOW - 10, NOW)
    at_once, _ = keys.rotated(key, NOW, 0)
    assert not at_once.keeps(NOW - 10, NOW)
    assert at_once.keeps(NOW, NOW)
    later, _ = keys.rotated(key, NOW, 100)
    assert later.keeps(NOW - 10, NOW + 99)
    assert not later.keeps(NOW - 10, NOW + 100)
    assert not later.keeps(NOW + 50, NOW + 100), "which secret made it is not known"
    again, _ = keys.rotated(later, NOW + 200, 100)
    assert not again.keeps(NOW - 10, NOW + 200), "what has ended does not come back"
    assert again.keeps(NOW + 150, NOW + 250)
    assert not again.keeps(NOW + 150, NOW + 300)
    assert not structs.replace(key, revoked_at=NOW).keeps(NOW, NOW)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"expires_in_days": 366}, InvalidParameters),
        ({"expires_in_days": 0}, InvalidParameters),
        ({"expires_in_days": float("nan")}, InvalidParameters),
        ({"scopes": ()}, InvalidParameters),
        ({"scopes": (Scope.ADMIN_READ,)}, AccessForbidden),
        ({"networks": ()}, InvalidParameters),
        ({"networks": ("192.0.2.1/24",)}, InvalidParameters),
        ({"vfolders": ()}, InvalidParameters),
        ({"name": "a\nb"}, InvalidParameters),
        ({"name": "x" * 201}, InvalidParameters),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused(request_: dict[str, object], error: type[StorageError]) -> None:
    with pytest.raises(error):
        made(**request_)


VFOLDERS = (uuid4(), uuid4())
MORE: list[tuple[dict[str, object], dict[str, object], bool]] = [
    ({"scopes": (Scope.FILES_READ, Scope.KEYS)}, {}, True),
    ({}, {"scopes": (Scope.FILES_WRITE,)}, False),
    ({}, {"scopes": (Scope.FILES_READ, Scope.JOBS)}, False),
    ({"vfolders": VFOLDERS}, {"vfolders": VFOLDERS[:1]}, True),
    ({"vfolders": VFOLDERS}, {}, False),
    ({"vfolders": VFOLDERS[:1]}, {"vfolders": VFOLDERS}, False),
    ({"expires_in_days": 10}, {"expires_in_days": 10}, True),
    ({"expires_in_days": 10}, {"expires_in_days": 11}, False),
    ({"networks": ("10.0.0.0/8",)}, {"networks": ("10.1.0.0/16",)}, True),
    ({"networks": ("10.0.0.0/8",)}, {}, False),
    ({"networks": ("10.1.0.0/16",)}, {"networks": ("10.0.0.0/8",)}, False),
    ({"networks": ("10.0.0.0/8",)}, {"networks": ("10.1.0.0/16", "2001:db8::/32")}, False),
]


@pytest.mark.parametrize(("maker", "asked", "allowed"), MORE)
def test_a_key_never_makes_one_that_may_more(
    maker: dict[str, object], asked: dict[str, object], *, allowed: bool
) -> None:
    made_by, key = made(**maker)[0], made(**asked)[0]
    if allowed:
        keys.check_not_more(key, made_by.facts, made_by)
    else:
        with pytest.raises(AccessForbidden):
            keys.check_not_more(key, made_by.facts, made_by)


def test_a_user_has_a_number_of_live_keys() -> None:
    table = AccessTable(keys_per_user=2)
    live, ended = made()[0], structs.replace(made()[0], revoked_at=NOW)
    keys.check_count([live, ended, ended], table, NOW)
    with pytest.raises(Conflict):
        keys.check_count([live, live], table, NOW)


def test_keys_never_take_the_room_that_their_record_has() -> None:
    """A longer record would not be read again: no key of its user would work any more."""
    long, _ = made(vfolders=tuple(uuid4() for _ in range(1000)))
    ended = [structs.replace(long, id=f"{n}", revoked_at=NOW - 100 + n) for n in range(100)]
    live = [structs.replace(long, id=f"live{n}") for n in range(2)]
    kept = keys.fitting([*live, *ended], NOW)
    assert kept[:2] == live
    assert kept[2:] == ended[-len(kept) + 2 :], "those that ended first went"
    assert 10 < len(kept) < 60
    assert keys.fitting(kept, NOW) == kept
    with pytest.raises(Conflict):
        keys.fitting([structs.replace(long, id=f"{n}") for n in range(100)], NOW)


def test_the_last_use_is_written_once_a_minute() -> None:
    key = keys.used(made()[0], NOW, HERE)
    assert key is not None
    assert (key.last_used_at, key.last_used_from) == (NOW, HERE)
    assert keys.used(key, NOW + 59, HERE) is None
    assert keys.used(key, NOW + 60, "::1") is not None


def test_random_texts_are_no_keys() -> None:
    digits = random.Random(20)
    letters = "0123456789ABCXYZabcxyz_"
    for _ in range(2000):
        text = "vfk_" + "".join(digits.choices(letters, k=digits.randint(0, 70)))
        with pytest.raises(CredentialRefused):
            keys.parsed(text)
