"""Records and their seal: a file that was changed or copied is no record."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from core.access import (
    Grant,
    Link,
    Permission,
    RecordForged,
    RecordOwner,
    Seals,
    Subject,
    SubjectRecord,
    VFolderRecord,
    held,
    records,
)
from core.errors import InvalidParameters
from core.names import QuotaScope, VFolderId

SEALS = Seals(["secret"])
A, B = UUID(int=1), UUID(int=2)
VFOLDER = VFolderId(QuotaScope.parse(f"user:{A}"), UUID(int=1000))
PLACE = records.place_of("local", VFOLDER)
LINK = Link(id="l", digest="0" * 64, kind="read", path="a", maker=f"user:{A}")
RECORD = VFolderRecord(
    id=VFOLDER.id,
    volume="local",
    scope=str(VFOLDER.scope),
    owner=RecordOwner(kind="user", id=A, name="Ada"),
    name="corpus — ü",
    grants=(
        Grant(id="g", to=f"user:{B}", permission="rw", expires_at=12.5),
        Grant(id="h", to=f"group:{B}", permission="ro", source="manager"),
    ),
    links=(LINK,),
    revision=17,
)


def test_a_sealed_record_comes_back() -> None:
    text = SEALS.seal(RECORD, PLACE)
    assert text.startswith(b"{")
    assert SEALS.opened(text, PLACE, VFolderRecord) == RECORD
    person = SubjectRecord(kind="group", id=B, members=(A,), keys=({"id": "k"},), revision=3)
    where = records.subject_place("local", B)
    assert SEALS.opened(SEALS.seal(person, where), where, SubjectRecord) == person


def test_no_flipped_byte_passes() -> None:
    text = SEALS.seal(RECORD, PLACE)
    for place in range(len(text)):
        for bit in (0x01, 0x20, 0x80):
            changed = bytearray(text)
            changed[place] ^= bit
            with pytest.raises(RecordForged):
                SEALS.opened(bytes(changed), PLACE, VFolderRecord)


@given(st.binary(max_size=300), st.integers(0, 700), st.integers(0, 700))
@settings(max_examples=200, deadline=None)
def test_no_cut_and_no_insertion_passes(more: bytes, start: int, end: int) -> None:
    text = SEALS.seal(RECORD, PLACE)
    changed = text[:start] + more + text[max(start, end) :]
    if changed == text:
        return
    with pytest.raises(RecordForged):
        SEALS.opened(changed, PLACE, VFolderRecord)


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_no_foreign_text_passes(text: bytes) -> None:
    for shape in (VFolderRecord, SubjectRecord):
        with pytest.raises(RecordForged):
            SEALS.opened(text, PLACE, shape)


def test_a_record_is_valid_in_its_own_place_only() -> None:
    text = SEALS.seal(RECORD, PLACE)
    other_scope = VFolderId(QuotaScope.parse(f"user:{B}"), VFOLDER.id)
    for place in (
        records.place_of("other", VFOLDER),
        records.place_of("local", VFolderId(VFOLDER.scope, B)),
        records.place_of("local", other_scope),
        records.place_of("local", VFolderId(None, VFOLDER.id)),
        records.subject_place("local", VFOLDER.id),
    ):
        with pytest.raises(RecordForged):
            SEALS.opened(text, place, VFolderRecord)


def test_after_a_change_of_the_secret_old_records_are_read_and_new_ones_sealed_anew() -> None:
    old = SEALS.seal(RECORD, PLACE)
    both, new = Seals(["new", "secret"]), Seals(["new"])
    assert both.opened(old, PLACE, VFolderRecord) == RECORD
    with pytest.raises(RecordForged):
        new.opened(old, PLACE, VFolderRecord)
    assert new.opened(both.seal(RECORD, PLACE), PLACE, VFolderRecord) == RECORD


def test_a_record_older_than_the_index_knows_is_forged() -> None:
    text = SEALS.seal(RECORD, PLACE)
    assert SEALS.opened(text, PLACE, VFolderRecord, least_revision=17) == RECORD
    with pytest.raises(RecordForged):
        SEALS.opened(text, PLACE, VFolderRecord, least_revision=18)


def test_a_seal_needs_a_secret() -> None:
    for secrets in ([], [""], ["a", ""]):
        with pytest.raises(ValueError, match="secret"):
            Seals(secrets)


def test_the_key_is_that_of_the_standard() -> None:
    """RFC 5869, appendix A.3: SHA-256 without salt and info; the first 32 bytes."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert records.derived_key(b"\x0b" * 22, b"").hex() == expected


def test_a_vfolder_without_a_file_belongs_to_its_scope() -> None:
    record = records.implied("local", VFOLDER)
    assert (record.owner.word, record.group_permission) == (f"user:{A}", "ro")
    assert (record.name, record.grants, record.links, record.revision) == (None, (), (), 0)
    group = records.implied("local", VFolderId(QuotaScope.parse(f"project:{B}"), VFOLDER.id))
    assert group.owner.word == f"group:{B}"


def test_a_scope_without_a_kind_is_the_users_when_the_user_asks() -> None:
    """The manager writes the first record, and a directory does not tell a user from a group."""
    guessed = VFolderId(QuotaScope.parse(f"project:{A}"), VFOLDER.id)
    written = records.implied("local", guessed)
    owner, other = Subject(kind="user", id=A), Subject(kind="user", id=B, groups=frozenset({A}))
    assert held(owner, written, 0.0).permission is Permission.NONE
    found = records.at_place(written, VFOLDER)
    assert (found.scope, found.owner.word) == (str(VFOLDER.scope), f"user:{A}")
    assert held(owner, found, 0.0).permission is Permission.OWNER
    assert held(other, found, 0.0).permission is Permission.NONE


def test_a_group_and_a_new_owner_stay_at_their_place() -> None:
    group = VFolderId(QuotaScope.parse(f"project:{A}"), VFOLDER.id)
    assert records.at_place(records.implied("local", group), group).owner.kind == "group"
    given_away = structs.replace(RECORD, owner=RecordOwner(kind="group", id=B))
    assert records.at_place(given_away, VFOLDER) is given_away


def test_the_groups_of_a_record_decide_all_that_groups_decide() -> None:
    """A ticket has no others: the text of a thousand would fit into no URL."""
    group, shared, other = UUID(int=7), B, UUID(int=9)
    record = structs.replace(RECORD, owner=RecordOwner(kind="group", id=group))
    assert records.groups_of(record) == {group, shared}
    for mine in ((), (group,), (shared,), (other,), (group, shared, other)):
        subject = Subject(kind="user", id=A, groups=frozenset(mine), admin_of=frozenset(mine[:1]))
        fewer = structs.replace(
            subject,
            groups=subject.groups & records.groups_of(record),
            admin_of=subject.admin_of & records.groups_of(record),
        )
        assert held(fewer, record, 0.0) == held(subject, record, 0.0)


def test_a_forged_record_gives_members_nothing() -> None:
    """The record that was lost may have said `none`."""
    group = VFolderId(QuotaScope.parse(f"project:{B}"), VFOLDER.id)
    record = records.unproven("local", group)
    member = Subject(kind="user", id=A, groups=frozenset({B}))
    admin = Subject(kind="user", id=A, admin_of=frozenset({B}))
    assert held(member, record, 0.0).permission is Permission.NONE
    assert held(admin, record, 0.0).permission is Permission.OWNER


def test_the_trash_keeps_grants_and_ends_links() -> None:
    kept = records.revoked(RECORD, 5.0)
    assert kept.grants == RECORD.grants
    assert [link.revoked_at for link in kept.links] == [5.0]
    assert records.revoked(kept, 9.0) == kept


def test_a_new_owner_has_no_grant_and_inherits_no_link() -> None:
    given_away = records.given_to(RECORD, RecordOwner(kind="user", id=B), 5.0)
    assert [grant.id for grant in given_away.grants] == ["h"]
    assert [link.revoked_at for link in given_away.links] == [5.0]


@pytest.mark.parametrize(
    ("name", "canonical"),
    [("a", "a"), ("e\u0301", "é"), ("ä" * 200, "ä" * 200), ("日本", "日本"), (" x ", " x ")],
)
def test_names(name: str, canonical: str) -> None:
    assert records.checked_name(name) == canonical


@pytest.mark.parametrize(
    "name", ["", "a" * 201, "a/b", "a\n", "\x00", "\x7f", "\u2028", "\udcff", "\u0085"]
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidParameters):
        records.checked_name(name)


def test_names_are_compared_without_case() -> None:
    assert records.name_key("Straße") == records.name_key("STRASSE")
    assert records.name_key("e\u0301") == records.name_key("É")
    assert records.name_key("a") != records.name_key("b")
