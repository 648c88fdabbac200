"""VFolders, grants and entries as the JSON documents that people get."""

from typing import Any

from flask import Response

from api.access import FoundVFolder
from api.http import answer
from core.access import Decision, Grant, Permission
from core.names import moment_or_none

_MOMENTS = ("created", "modified")


def vfolder_answer(document: dict[str, Any], revision: int, status: int = 200) -> Response:
    """Return the answer with a vfolder and its entity tag."""
    response = answer(document, status)
    response.headers["ETag"] = f'"{revision}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def vfolder_document(
    found: FoundVFolder, decision: Decision, more: dict[str, Any]
) -> dict[str, Any]:
    """Return a vfolder as a caller with this decision sees it.

    `more` has what the record does not: usage and capabilities. Who shares it is for the owner.
    """
    record = found.record
    reference = found.reference
    base = f"/v1/vfolders/{reference}"
    owns = decision.permission is Permission.OWNER
    return {
        "id": str(record.id),
        "volume": record.volume,
        "name": record.name,
        "type": record.owner.kind,
        "scope": record.scope,
        "owner": {
            "kind": record.owner.kind,
            "id": str(record.owner.id),
            "name": record.owner.name,
        },
        "created_at": moment_or_none(record.created_at),
        "created_by": record.created_by or None,
        "permission": decision.permission.word,
        "permission_via": decision.via,
        "permission_expires_at": moment_or_none(decision.expires_at),
        "group_permission": record.group_permission,
        "shared_with": len(record.grants),
        "links": sum(link.revoked_at is None for link in record.links),
        "links_allowed": record.links_allowed,
        "expires_at": moment_or_none(record.expires_at),
        "trashed": bool(found.trash),
        "next_owner": (record.next_owner or None) if owns else None,
        "revision": record.revision,
        "links_to": {
            "entries": f"{base}/entries",
            "content": f"{base}/content",
            "grants": f"{base}/grants",
            "jobs": f"/v1/jobs?vfolder={reference}",
        },
        **more,
    }


def grant_document(grant: Grant) -> dict[str, Any]:
    """Return a grant."""
    return {
        "id": grant.id,
        "to": grant.to,
        "permission": grant.permission,
        "source": grant.source,
        "expires_at": moment_or_none(grant.expires_at),
        "note": grant.note,
        "created_at": moment_or_none(grant.created_at),
        "created_by": grant.created_by,
    }


def entry_document(item: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of `listing.list_directory`; the size of a directory is not known."""
    kind = item["type"].lower()
    stat = item["stat"]
    moments = {name: stat[name] if stat[name].timestamp() else None for name in _MOMENTS}
    return {
        "name": item["name"],
        "kind": kind,
        "size_bytes": stat["size"] if kind == "file" else None,
        "mode": stat["mode"],
        "changed_at": moments["created"],
        "modified_at": moments["modified"],
        "symlink_target": item["symlink_target"] or None,
    }
