"""Links: tokens, ends and passwords."""

from uuid import uuid4

import pytest
from msgspec import structs

from core.access import Link, RecordOwner, VFolderRecord, links
from core.access.index import entry_of
from core.errors import InvalidParameters

NOW = 1_000_000.0
TOKEN = f"{links.PREFIX}F0YZkGaqdEmR6jRhic2JmvV5GD6"
LINK = Link(
    id="l1",
    digest=links.digest_of(TOKEN) or "",
    kind="read",
    path="",
    maker="user:1",
    created_at=NOW,
)


def test_a_token_has_160_bits_and_one_digest() -> None:
    assert 62**links.TOKEN_DIGITS > 2**160
    assert len({links.new_token() for _ in range(100)}) == 100
    assert links.digest_of(TOKEN) == links.digest_of(TOKEN) != links.digest_of(links.new_token())
    assert TOKEN not in LINK.digest


@pytest.mark.parametrize(
    "text", ["", "vfl_", TOKEN + "0", TOKEN[:-1], TOKEN.upper(), TOKEN + "\n", "vfl_" + "é" * 27]
)
def test_other_texts_are_no_token(text: str) -> None:
    assert links.digest_of(text) is None


@pytest.mark.parametrize(
    ("more", "live"),
    [
        ({}, True),
        ({"expires_at": NOW + 1}, True),
        ({"expires_at": NOW}, False),
        ({"revoked_at": NOW - 1}, False),
        ({"revoked_at": NOW - 1, "expires_at": NOW + 1}, False),
    ],
)
def test_until_when_a_link_counts(more: dict[str, float], live: object) -> None:
    assert links.is_live(structs.replace(LINK, **more), NOW) is live


def test_a_password_is_kept_as_a_hash() -> None:
    kept = links.hashed("a long password")
    assert "password" not in kept
    assert links.is_password("a long password", kept)
    assert not links.is_password("another password", kept)
    assert kept != links.hashed("a long password")


@pytest.mark.parametrize("text", ["", "1234567", "x" * 201])
def test_a_password_has_8_to_200_characters(text: str) -> None:
    with pytest.raises(InvalidParameters, match="8 to 200"):
        links.hashed(text)


def test_the_index_finds_a_link_until_it_is_revoked() -> None:
    owner = uuid4()
    record = VFolderRecord(
        id=uuid4(),
        volume="v",
        scope=f"user:{owner}",
        owner=RecordOwner(kind="user", id=owner),
        links=(LINK,),
    )
    words = {links.secret_word(LINK.digest), "link-id:l1", "links-of:user:1"}
    assert set(entry_of(record).words) == {f"user:{owner}", *words}
    over = structs.replace(record, links=(structs.replace(LINK, revoked_at=NOW),))
    assert entry_of(over).words == [f"user:{owner}"]
