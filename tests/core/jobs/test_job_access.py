"""The act of each request: what is decided about its requester, at the door and before its run."""

from typing import Any
from uuid import UUID

import pytest

from core.access import ACTS
from core.jobs import access_of
from core.jobs.requests import VERBS, parse

A, B = (f"user:{UUID(int=n)}/{UUID(int=n + 100).hex}" for n in (1, 2))
TRASH = str(UUID(int=7))
COPY = {"source": A, "target": B, "target_volume": "w"}
CASES: list[tuple[dict[str, Any], str, dict[str, str], str]] = [
    ({"verb": "clone", **COPY}, "jobs.clone", {"source": f"v {A}"}, "w"),
    ({"verb": "delete", "vfolder": A}, "vfolders.delete", {"vfolder": f"v {A}"}, ""),
    (
        {"verb": "delete-files", "vfolder": A, "paths": ["a"]},
        "jobs.delete-files",
        {"vfolder": f"v {A}"},
        "",
    ),
    *(
        ({"verb": verb, "vfolder": A, **more}, name, {"vfolder": f"v {A}"}, "")
        for verb, more, name in (
            ("delete-files", {"paths": ["a"], "keep_seconds": 9}, "jobs.delete-files"),
            ("delete-files", {"paths": ["a"], "keep_seconds": 0}, "entries.purge"),
            ("restore", {"trash": TRASH, "entries": True}, "entries.remove"),
            ("purge", {"trash": TRASH, "entries": True}, "entries.purge"),
        )
    ),
    ({"verb": "find", "vfolder": A, "match": "*"}, "jobs.find", {"vfolder": f"v {A}"}, ""),
    ({"verb": "usage", "vfolder": A}, "jobs.usage", {"vfolder": f"v {A}"}, ""),
    (
        {"verb": "restore", "vfolder": A, "trash": TRASH},
        "vfolders.restore",
        {"vfolder": f"v {A} {TRASH}"},
        "",
    ),
    (
        {"verb": "purge", "vfolder": A, "trash": TRASH},
        "vfolders.purge",
        {"vfolder": f"v {A} {TRASH}"},
        "",
    ),
    (
        {"verb": "extract", "vfolder": A, "source": "a", "target": "b", "archive": "tar"},
        "jobs.extract",
        {"source": f"v {A}", "target": f"v {A}"},
        "",
    ),
    *(
        (
            {"verb": "transfer", **COPY, **more},
            act,
            {"source": f"v {A}", "target": f"w {B}"},
            "",
        )
        for more, act in (
            ({}, "jobs.transfer"),
            ({"on_conflict": "skip"}, "jobs.transfer"),
            ({"on_conflict": "replace"}, "jobs.transfer-over"),
            ({"on_conflict": "newer"}, "jobs.transfer-over"),
            ({"on_conflict": "newer", "delete_extra": True}, "jobs.transfer-mirror"),
            ({"remove_source": True}, "jobs.move"),
            ({"remove_source": True, "on_conflict": "newer"}, "jobs.move-over"),
        )
    ),
    *(
        (
            {"verb": "snapshot", "vfolder": A, "action": action, **more},
            act,
            {"vfolder": f"v {A}"},
            "",
        )
        for action, more, act in (
            ("create", {"name": "s"}, "snapshots.create"),
            ("list", {}, "snapshots.read"),
            ("delete", {"name": "s"}, "snapshots.manage"),
            ("restore", {"name": "s"}, "snapshots.manage"),
            ("restore", {"name": "s", "over": True}, "snapshots.manage"),
        )
    ),
    (
        {"verb": "snapshot", "vfolder": A, "action": "restore", "name": "s", "target": B},
        "snapshots.copy",
        {"source": f"v {A}"},
        "v",
    ),
]
#: Verbs of operators, of the manager and of the service itself.
NOT_FOR_PEOPLE = {"adopt", "assist", "describe", "import", "rescan"}


@pytest.mark.parametrize(("request_", "name", "ends", "made_on"), CASES)
def test_the_act_of_a_request(
    request_: dict[str, Any], name: str, ends: dict[str, str], made_on: str
) -> None:
    access = access_of(parse({"volume": "v", **request_}))
    assert access is not None
    assert access.rule == name
    assert {role: " ".join(map(str, end)).rstrip() for role, end in access.ends.items()} == ends
    assert (access.made_in[0] if access.made_in else "") == made_on
    if access.made_in:
        assert str(access.made_in[1]) == B.partition("/")[0]
    # Each need of the act is about something that the request names.
    named = {*access.ends, *(["scope"] if access.made_in else [])}
    assert {need.role for need in ACTS[name].needs} == named


def test_each_verb_has_an_act_or_is_not_for_people() -> None:
    assert {case[0]["verb"] for case in CASES} | NOT_FOR_PEOPLE == set(VERBS)
    assert access_of(parse({"verb": "rescan", "volume": "v"})) is None
    adopt = parse({"verb": "adopt", "volume": "v", "owner": A[:41], "limit_bytes": 1})
    assert access_of(adopt) is None
