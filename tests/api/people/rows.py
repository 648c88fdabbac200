"""Every route for people as data: how it is asked, and the least that permits it.

`least` is the permission on the vfolder of the path; `any` is any valid credential, and `named` is
a person that the record names, which it does not here. `allowed` are the statuses of a permitted
request. Changes send an `If-Match` of a revision that no record has, so a permitted one is 412 and
changes nothing: the same vfolder serves all subjects.
"""

import base64
from dataclasses import dataclass, field
from typing import Any

ABSENT = "00000000-0000-4000-8000-000000000009"
STALE = {"If-Match": '"999999"'}
_FILE = base64.b64encode(b"sent.txt").decode()


@dataclass(frozen=True)
class Row:
    """One way to ask a route."""

    method: str
    #: With `{vfolder}`, `{job}` and `{grant}`.
    path: str
    least: str
    allowed: tuple[int, ...]
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    #: The scope of a credential that the route needs.
    scope: str = "files:read"
    #: It is about more than vfolders, which a key that is bound to vfolders never may.
    unbound: bool = False


ROWS = (
    Row("GET", "/v1/me", "any", (200,), scope=""),
    Row("GET", "/v1/keys", "any", (200,), scope="keys"),
    Row("POST", "/v1/keys", "any", (400,), {"scopes": ["keys"], "name": "\n"}, scope="keys"),
    Row("PATCH", "/v1/keys/absent", "any", (404,), {"name": "x"}, scope="keys"),
    Row("DELETE", "/v1/keys/absent", "any", (404,), scope="keys"),
    Row("POST", "/v1/keys/absent/rotate", "any", (404,), {}, scope="keys"),
    Row("GET", "/v1/signin", "any", (404,), scope=""),
    Row("DELETE", "/v1/signin", "any", (404,), scope=""),
    Row("GET", "/v1/signins", "any", (200,), scope=""),
    Row("DELETE", "/v1/signins/absent", "any", (404,), scope=""),
    Row("GET", "/v1/quotas", "any", (200,), scope=""),
    Row("GET", "/v1/quotas/absent", "any", (404,), scope=""),
    Row("PUT", "/v1/quotas/absent", "any", (403,), {"limit_bytes": 1}, scope=""),
    Row("GET", "/v1/notices", "any", (200,), scope=""),
    Row("POST", "/v1/notices/absent/read", "any", (404,), scope=""),
    Row("GET", "/v1/audit", "any", (200,), scope=""),
    Row("GET", "/v1/subjects?q=a", "any", (200,), scope="shares:manage"),
    Row("GET", "/v1/groups", "any", (200,), scope=""),
    Row("GET", f"/v1/groups/{ABSENT}/members", "any", (404,), scope="", unbound=True),
    Row(
        "PATCH",
        f"/v1/groups/{ABSENT}",
        "any",
        (404,),
        {"links_allowed": False},
        scope="",
        unbound=True,
    ),
    Row(
        "POST",
        f"/v1/groups/{ABSENT}/members",
        "any",
        (404,),
        {"user": ABSENT},
        scope="",
        unbound=True,
    ),
    Row(
        "DELETE",
        f"/v1/groups/{ABSENT}/members/{ABSENT}",
        "any",
        (404,),
        scope="",
        unbound=True,
    ),
    Row("GET", "/v1/vfolders", "any", (200,), scope=""),
    Row("GET", "/v1/jobs", "any", (200,), scope="jobs"),
    Row(
        "POST",
        "/v1/vfolders",
        "any",
        (400,),
        {"name": "a/b"},
        scope="",  # the name is looked at before the scope is decided
    ),
    Row("GET", "/v1/vfolders/{vfolder}", "ro", (200,)),
    Row(
        "PATCH",
        "/v1/vfolders/{vfolder}",
        "owner",
        (412,),
        {"name": "other"},
        STALE,
        "vfolders:manage",
    ),
    Row("DELETE", "/v1/vfolders/{vfolder}", "owner", (412,), None, STALE, "files:delete"),
    Row("POST", "/v1/vfolders/{vfolder}/restore", "gone", (404,), {}, {}, "files:delete"),
    Row("POST", "/v1/vfolders/{vfolder}/purge", "gone", (404,), None, {}, "files:delete"),
    Row("GET", "/v1/vfolders/{vfolder}/grants", "ro", (200,)),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/grants",
        "owner",
        (412,),
        {"to": "user:00000000-0000-4000-8000-000000000001", "permission": "ro"},
        STALE,
        "shares:manage",
    ),
    Row(
        "PATCH",
        "/v1/vfolders/{vfolder}/grants/{grant}",
        "owner",
        (412,),
        {"note": "x"},
        STALE,
        "shares:manage",
    ),
    # Each who sees the vfolder reads its record first; a stale revision ends it there.
    Row("DELETE", "/v1/vfolders/{vfolder}/grants/{grant}", "ro", (412,), None, STALE),
    Row("GET", "/v1/links", "any", (200,), scope=""),
    Row("PATCH", "/v1/links/absent", "any", (404,), {"note": "x"}, scope=""),
    Row("DELETE", "/v1/links/absent", "any", (404,), scope=""),
    Row("GET", "/v1/vfolders/{vfolder}/links", "owner", (200,), scope="shares:manage"),
    Row("POST", "/v1/vfolders/{vfolder}/links", "owner", (412,), {}, STALE, "shares:manage"),
    Row("GET", "/v1/vfolders/{vfolder}/entries", "ro", (200,)),
    Row("GET", "/v1/vfolders/{vfolder}/entries?prefix=a&kind=file&rows=columns", "ro", (200,)),
    Row("GET", "/v1/vfolders/{vfolder}/find?match=*.txt", "ro", (200,)),
    Row("GET", "/v1/events?topics=jobs,volumes", "any", (200,), scope="jobs"),
    Row("GET", "/v1/uploads", "any", (200,), scope="files:write"),
    Row("GET", "/v1/vfolders/{vfolder}/entry?path=a.txt", "ro", (200,)),
    Row(
        "PATCH",
        "/v1/vfolders/{vfolder}/entry?path=absent",
        "rw",
        (400,),
        {"to": "b"},
        {},
        "files:write",
    ),
    Row(
        "PATCH",
        "/v1/vfolders/{vfolder}/entry?path=absent",
        "rwd",
        (400,),
        {"to": "b", "overwrite": True},
        {},
        "files:delete",
    ),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/directories",
        "rw",
        (207,),
        {"paths": ["a.txt/below"]},
        {},
        "files:write",
    ),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/delete",
        "rwd",
        (202,),
        {"paths": ["absent"]},
        {},
        "files:delete",
    ),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/delete",
        "owner",
        (202,),
        {"paths": ["absent"], "keep_seconds": 0},
        {},
        "files:delete",
    ),
    Row("GET", "/v1/vfolders/{vfolder}/trash", "ro", (200,)),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/trash/00000000-0000-4000-8000-000000000001/restore",
        "rwd",
        (404,),
        scope="files:delete",
    ),
    Row(
        "DELETE",
        "/v1/vfolders/{vfolder}/trash/00000000-0000-4000-8000-000000000001",
        "owner",
        (404,),
        scope="files:delete",
    ),
    Row("GET", "/v1/vfolders/{vfolder}/content?path=a.txt", "ro", (200,)),
    Row("GET", "/v1/vfolders/{vfolder}/content?path=a.txt&tail=2", "ro", (206,)),
    Row("HEAD", "/v1/vfolders/{vfolder}/content?path=a.txt", "ro", (200,)),
    Row("GET", "/v1/vfolders/{vfolder}/content?path=&format=tar", "ro", (200,)),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/uploads",
        "rw",
        (201,),
        None,
        {"Upload-Length": "5", "Upload-Metadata": f"relativePath {_FILE}"},
        "files:write",
    ),
    Row("POST", "/v1/vfolders/{vfolder}/tickets", "ro", (201,), {"act": "download", "path": "a"}),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/tickets",
        "rw",
        (201,),
        {"act": "upload", "path": "", "size": 5, "tree": True},
        {},
        "files:write",
    ),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/owner",
        "owner",
        (412,),
        {"to": "user:00000000-0000-4000-8000-000000000001"},
        STALE,
        "vfolders:manage",
    ),
    Row("POST", "/v1/vfolders/{vfolder}/owner/accept", "named", (), None, STALE),
    # Who sees the source learns that the name, or the target, is wrong; nothing is copied.
    Row("POST", "/v1/vfolders/{vfolder}/clone", "ro", (400,), {"name": "a/b"}, scope=""),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/transfer",
        "ro",
        (404,),
        {"to": "00000000-0000-4000-8000-000000000001"},
        scope="",
    ),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/extract",
        "rw",
        (409,),
        {"source": "b.tar", "target": "a.txt", "archive": "tar"},
        {},
        "files:write",
    ),
    Row("POST", "/v1/vfolders/{vfolder}/usage", "ro", (202,)),
    # The volume has no snapshots: a permitted request learns that.
    Row("GET", "/v1/vfolders/{vfolder}/snapshots", "ro", (400,)),
    Row("GET", "/v1/vfolders/{vfolder}/snapshots/absent/entries", "ro", (400,)),
    Row("GET", "/v1/vfolders/{vfolder}/snapshots/absent/content?path=a", "ro", (400,)),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/snapshots",
        "rw",
        (400,),
        {"name": "s"},
        scope="files:write",
    ),
    Row("DELETE", "/v1/vfolders/{vfolder}/snapshots/absent", "owner", (400,), scope="files:delete"),
    Row(
        "POST",
        "/v1/vfolders/{vfolder}/snapshots/absent/restore",
        "ro",
        (400,),
        {},
        scope="vfolders:manage",
        unbound=True,
    ),
    Row("GET", "/v1/jobs/{job}", "ro", (200,), scope="jobs"),
    Row("GET", "/v1/jobs/{job}/log", "ro", (200,), scope="jobs"),
    Row("GET", "/v1/jobs/{job}/events", "ro", (200,), scope="jobs"),
    Row("GET", "/v1/jobs/{job}/report", "ro", (200,), scope="jobs"),
    Row("POST", "/v1/jobs/{job}/cancel", "owner", (409,), scope="jobs"),
    Row("POST", "/v1/jobs/{job}/pause", "owner", (409,), scope="jobs"),
    Row("POST", "/v1/jobs/{job}/resume", "owner", (409,), scope="jobs"),
    Row(
        "PUT",
        "/v1/jobs/{job}/bandwidth",
        "owner",
        (409,),
        {"bytes_per_second": 1000},
        scope="jobs",
    ),
    # The job removes an entry that is not there, so that a second one changes nothing either.
    Row("POST", "/v1/jobs/{job}/retry", "owner", (202,), scope="jobs"),
    Row("GET", "/v1/volumes", "any", (200,), scope=""),
)
#: Routes that another test walks: the upload of a subject is for no other one, and the cookie of a
#: sign-in would count for the requests after it. Those of OpenID Connect need no credential.
ELSEWHERE = {
    *("/v1/uploads/{upload_id}", "/v1/signin", "/v1/signin/methods", "/v1/signin/exchange"),
    "/v1/signin/code",
    *("/v1/signin/oidc/{issuer}", "/v1/signin/oidc/{issuer}/callback"),
}
