"""Every route for people as data: how it is asked, and the acts that the request is for.

What an act needs is in `core.access.ACTS` alone. `allowed` is the status of a permitted request.
Changes send an `If-Match` of a revision that no record has, or name what is not there, so a
permitted one changes nothing: the same vfolder serves all subjects. `deeds` has those with effects.
"""

import base64
from dataclasses import dataclass, field
from typing import Any

ABSENT = "00000000-0000-4000-8000-000000000009"
STALE = {"If-Match": '"999999"'}
SCOPE = "user:00000000-0000-4000-8000-000000000007"
WHY = {"reason": "a test of it"}
QUESTION = {"subject": f"user:{ABSENT}", "act": "entries.write", "vfolder": ABSENT}
_FILE = base64.b64encode(b"sent.txt").decode()
_UPLOAD = {"Upload-Length": "5", "Upload-Metadata": f"relativePath {_FILE}"}
_TUS = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True)
class Row:
    """One way to ask a route."""

    method: str
    #: With `{vfolder}`, `{job}`, `{grant}`, `{group}`, `{link}` and `{upload}`.
    path: str
    #: The acts that are decided, in this order. Of `act?` only who does not see it is refused: the
    #: body is wrong, and that is said before the rest is decided.
    acts: tuple[str, ...]
    allowed: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    #: The acts of an operator in place of those.
    of_operators: str = ""
    #: It is about nothing that anybody has; 404 is also the answer to who has all permissions.
    absent: bool = False


def _row(
    asked: str,
    acts: str,
    allowed: int,
    body: Any = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Row:
    method, _, path = asked.partition(" ")
    return Row(method, path, tuple(acts.split()), allowed, body, headers or {}, **more)


_SELF = (
    _row("GET /v1/me", "me.read", 200),
    _row("GET /v1/keys", "keys.read", 200),
    _row("POST /v1/keys", "keys.manage", 400, {"scopes": ["keys"], "name": "\n"}),
    _row("PATCH /v1/keys/absent", "keys.manage", 404, {"name": "x"}),
    _row("DELETE /v1/keys/absent", "keys.manage", 404),
    _row("POST /v1/keys/absent/rotate", "keys.manage", 404, {}),
    _row("GET /v1/signins", "signin.manage", 200),
    _row("DELETE /v1/signins/absent", "signin.manage", 404),
    _row("GET /v1/quotas", "quotas.read", 200),
    _row("GET /v1/quotas/absent", "quotas.read", 404),
    _row("GET /v1/notices", "notices.read", 200),
    _row("POST /v1/notices/absent/read", "notices.read", 404),
    _row("GET /v1/audit", "audit.own", 200, of_operators="audit.read"),
    _row("GET /v1/subjects?q=a", "subjects.read", 200),
    _row("GET /v1/groups", "groups.read", 200),
    _row("GET /v1/vfolders", "vfolders.list", 200),
    _row("GET /v1/links", "links.list", 200),
    _row("GET /v1/jobs", "jobs.list", 200, of_operators="queue.read"),
    _row("GET /v1/uploads", "uploads.list", 200, of_operators="uploads.read"),
    _row(
        "GET /v1/events?topics=jobs,volumes",
        "events.read jobs.list",
        200,
        of_operators="events.read queue.read",
    ),
    _row("GET /v1/volumes", "volumes.list", 200, of_operators="volumes.read"),
    _row("POST /v1/vfolders", "vfolders.create?", 400, {"name": "a/b"}),
)
_VFOLDER = (
    _row("GET /v1/vfolders/{vfolder}", "vfolders.read", 200),
    _row("PATCH /v1/vfolders/{vfolder}", "vfolders.update", 412, {"name": "other"}, STALE),
    _row("DELETE /v1/vfolders/{vfolder}", "vfolders.delete", 412, None, STALE),
    _row("POST /v1/vfolders/{vfolder}/restore", "vfolders.restore", 404, {}, absent=True),
    _row("POST /v1/vfolders/{vfolder}/purge", "vfolders.purge", 404, absent=True),
    _row("GET /v1/vfolders/{vfolder}/grants", "grants.read", 200),
    _row(
        "POST /v1/vfolders/{vfolder}/grants",
        "grants.manage",
        412,
        {"to": f"user:{ABSENT}", "permission": "ro"},
        STALE,
    ),
    _row("PATCH /v1/vfolders/{vfolder}/grants/{grant}", "grants.manage", 412, {"note": "x"}, STALE),
    # Each who sees the vfolder reads its record first; a stale revision ends it there.
    _row("DELETE /v1/vfolders/{vfolder}/grants/{grant}", "grants.read", 412, None, STALE),
    _row("GET /v1/vfolders/{vfolder}/links", "links.manage", 200),
    _row("POST /v1/vfolders/{vfolder}/links", "links.manage", 412, {}, STALE),
    _row("PATCH /v1/links/absent", "links.manage", 404, {"note": "x"}, absent=True),
    _row("DELETE /v1/links/absent", "links.manage", 404, absent=True),
    _row("POST /v1/vfolders/{vfolder}/owner", "owner.offer", 412, {"to": f"user:{ABSENT}"}, STALE),
    _row("POST /v1/vfolders/{vfolder}/owner/accept", "owner.accept", 412, None, STALE),
    _row("PATCH /v1/groups/{group}", "groups.manage?", 400, {"links_allowed": "perhaps"}),
    _row("GET /v1/groups/{group}/members", "groups.read group.read", 200),
    _row("POST /v1/groups/{group}/members", "groups.manage?", 400, {"user": "absent"}),
    _row("DELETE /v1/groups/{group}/members/" + ABSENT, "groups.manage", 404),
)
_ENTRIES = (
    _row("GET /v1/vfolders/{vfolder}/entries", "entries.read", 200),
    _row("GET /v1/vfolders/{vfolder}/entries?prefix=a&kind=file&rows=columns", "entries.read", 200),
    _row("GET /v1/vfolders/{vfolder}/find?match=*.txt", "entries.read", 200),
    _row("GET /v1/vfolders/{vfolder}/entry?path=a.txt", "entries.read", 200),
    _row("PATCH /v1/vfolders/{vfolder}/entry?path=absent", "entries.write", 400, {"to": "b"}),
    _row(
        "PATCH /v1/vfolders/{vfolder}/entry?path=absent",
        "entries.write entries.replace",
        400,
        {"to": "b", "overwrite": True},
    ),
    _row(
        "POST /v1/vfolders/{vfolder}/directories", "entries.write", 207, {"paths": ["a.txt/below"]}
    ),
    _row("POST /v1/vfolders/{vfolder}/delete", "entries.remove", 202, {"paths": ["absent"]}),
    _row(
        "POST /v1/vfolders/{vfolder}/delete",
        "entries.remove entries.purge",
        202,
        {"paths": ["absent"], "keep_seconds": 0},
    ),
    _row("GET /v1/vfolders/{vfolder}/trash", "entries.read", 200),
    _row(f"POST /v1/vfolders/{{vfolder}}/trash/{ABSENT}/restore", "entries.remove", 404),
    _row(f"DELETE /v1/vfolders/{{vfolder}}/trash/{ABSENT}", "entries.purge", 404),
    _row("GET /v1/vfolders/{vfolder}/content?path=a.txt", "entries.read", 200),
    _row("GET /v1/vfolders/{vfolder}/content?path=a.txt&tail=2", "entries.read", 206),
    _row("HEAD /v1/vfolders/{vfolder}/content?path=a.txt", "entries.read", 200),
    _row("GET /v1/vfolders/{vfolder}/content?path=&format=tar", "entries.read", 200),
    _row("POST /v1/vfolders/{vfolder}/uploads", "entries.write", 400, None, _TUS),
    # The upload is the owner's; no other one learns of it, whatever the permission.
    _row("HEAD /v1/uploads/{upload}", "uploads.own", 200, None, _TUS),
    _row("PATCH /v1/uploads/{upload}", "uploads.own", 415, None, {**_TUS, "Upload-Offset": "3"}),
    _row("DELETE /v1/uploads/absent", "uploads.own", 404, None, _TUS, absent=True),
    _row(
        "POST /v1/vfolders/{vfolder}/tickets",
        "entries.read",
        201,
        {"act": "download", "path": "a"},
    ),
    _row(
        "POST /v1/vfolders/{vfolder}/tickets",
        "entries.read entries.write",
        201,
        {"act": "upload", "path": "", "size": 5, "tree": True},
    ),
    # The volume has no snapshots: a permitted request learns that.
    _row("GET /v1/vfolders/{vfolder}/snapshots", "snapshots.read", 400),
    _row("GET /v1/vfolders/{vfolder}/snapshots/absent/entries", "snapshots.read", 400),
    _row("GET /v1/vfolders/{vfolder}/snapshots/absent/content?path=a", "snapshots.read", 400),
    _row("POST /v1/vfolders/{vfolder}/snapshots", "snapshots.create", 400, {"name": "s"}),
    _row("DELETE /v1/vfolders/{vfolder}/snapshots/absent", "snapshots.manage", 400),
    _row("POST /v1/vfolders/{vfolder}/snapshots/absent/restore", "snapshots.copy", 400, {}),
)
_JOBS = (
    # Who sees the source learns that the name, or the target, is wrong; nothing is copied.
    _row("POST /v1/vfolders/{vfolder}/clone", "jobs.clone?", 400, {"name": "a/b"}),
    _row("POST /v1/vfolders/{vfolder}/transfer", "jobs.transfer?", 404, {"to": ABSENT}),
    _row(
        "POST /v1/vfolders/{vfolder}/extract",
        "jobs.extract",
        409,
        {"source": "b.tar", "target": "a.txt", "archive": "tar"},
    ),
    _row("POST /v1/vfolders/{vfolder}/usage", "jobs.usage", 202),
    _row("GET /v1/jobs/{job}", "jobs.read", 200),
    _row("GET /v1/jobs/{job}/log", "jobs.read", 200),
    _row("GET /v1/jobs/{job}/events", "jobs.read", 200),
    _row("GET /v1/jobs/{job}/report", "jobs.read", 200),
    _row("POST /v1/jobs/{job}/cancel", "jobs.steer", 409),
    _row("POST /v1/jobs/{job}/pause", "jobs.steer", 409),
    _row("POST /v1/jobs/{job}/resume", "jobs.steer", 409),
    _row("PUT /v1/jobs/{job}/bandwidth", "jobs.steer", 409, {"bytes_per_second": 1000}),
    # The job removes an entry that is not there, so that a second one changes nothing either.
    # What an operator retries is still its requester's.
    _row(
        "POST /v1/jobs/{job}/retry",
        "jobs.steer jobs.delete-files",
        202,
        of_operators="jobs.steer",
    ),
)
_OPERATORS = (
    _row("GET /v1/overview", "settings.read", 200),
    _row("GET /v1/series", "settings.read", 200),
    _row("GET /v1/volumes/local", "volumes.read", 200),
    _row("GET /v1/volumes/absent", "volumes.read", 400),
    _row("GET /v1/nodes", "nodes.read", 200),
    _row("GET /v1/trash", "volumes.read", 200),
    _row(f"GET /v1/volumes/local/scopes/{SCOPE}/trash", "volumes.read", 404),
    _row("GET /v1/quota-alerts", "volumes.read", 200),
    _row(f"GET /v1/users/{ABSENT}", "users.read", 200),
    _row("GET /v1/users/x", "users.read", 404),
    _row("GET /v1/people", "users.read", 200),
    _row("GET /v1/people?cursor=x", "users.read", 400),
    _row("POST /v1/access/explain", "access.explain", 404, QUESTION),
    _row(
        "POST /v1/access/explain",
        "access.explain",
        400,
        QUESTION | {"subject": f"group:{ABSENT}"},
    ),
    _row("GET /v1/settings", "settings.read", 200),
    _row("GET /v1/orphans", "settings.read", 200),
    _row("GET /v1/published-events", "settings.read", 200),
    _row("POST /v1/diagnostics", "diagnostics.read", 200, {"parts": ["versions"]}),
    _row(f"POST /v1/users/{ABSENT}/block", "users.manage", 400, {}),
    _row("POST /v1/users/x/unblock", "users.manage", 404),
    _row(f"POST /v1/users/{ABSENT}/keys/absent/revoke", "users.manage", 404, WHY),
    _row(f"PUT /v1/quotas/{SCOPE}", "quotas.set", 400, {"limit_bytes": 0}),
    _row(f"POST /v1/vfolders/{ABSENT}/break-glass", "vfolders.break-glass", 404, WHY),
    _row("POST /v1/groups", "groups.create", 400, {}),
    _row("POST /v1/volumes/local/pause", "volumes.steer", 400, {}),
    _row("POST /v1/volumes/absent/pause", "volumes.steer", 400, WHY),
    _row("POST /v1/volumes/absent/resume", "volumes.steer", 400),
    _row("PUT /v1/volumes/local/bandwidth", "volumes.steer", 400, {"bytes_per_second": 0}),
    _row("POST /v1/volumes/absent/rescan", "jobs.rescan", 400),
    _row("POST /v1/volumes/local/rescan", "jobs.rescan", 400, {"scope": "user:\ud800"}),
    _row(
        "POST /v1/volumes/local/rescan",
        "jobs.rescan",
        400,
        {"repair": True, "kinds": ["unknown"]},
    ),
    _row("POST /v1/volumes/local/rescan", "jobs.rescan", 400, {"kinds": ["empty-prefix"]}),
    _row("POST /v1/volumes/local/adopt", "jobs.adopt", 400, {"scope": SCOPE, "limit_bytes": 1}),
    _row(
        "POST /v1/volumes/absent/adopt",
        "jobs.adopt",
        400,
        {"scope": SCOPE, "limit_bytes": 1} | WHY,
    ),
    _row("POST /v1/volumes/absent/doctor", "volumes.examine", 400),
    _row(f"POST /v1/volumes/local/scopes/{SCOPE}/trash/{ABSENT}/purge", "trash.steer", 404, WHY),
    _row("PUT /v1/volumes/local/purge-rate", "trash.steer", 400, {"entries_per_second": 0}),
    _row("PUT /v1/volumes/absent/purge-rate", "trash.steer", 400, {"entries_per_second": 1}),
    _row("POST /v1/nodes/absent/drain", "nodes.steer", 404, WHY),
    _row("POST /v1/nodes/absent/undrain", "nodes.steer", 404),
    _row(f"POST /v1/uploads/{ABSENT}/end", "uploads.steer", 404, WHY),
    _row(f"PUT /v1/jobs/{ABSENT}/priority", "jobs.prioritize", 404, {"priority": 1}),
)
ROWS = (*_SELF, *_VFOLDER, *_ENTRIES, *_JOBS, *_OPERATORS)
