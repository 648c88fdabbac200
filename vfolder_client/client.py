"""The client: who asks, its vfolders, jobs and keys."""

import unicodedata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from vfolder_client.connection import PATIENCE_SECONDS, Connection
from vfolder_client.contexts import Context, current_context
from vfolder_client.documents import (
    ApiKey,
    KnownSubject,
    Notice,
    Quota,
    VFolderInfo,
    in_query,
    moment_text,
)
from vfolder_client.errors import AmbiguousReference, VFolderNotFound
from vfolder_client.folders import VFolder
from vfolder_client.jobs import Jobs
from vfolder_client.parts import Link, links_of_caller, revoke_link

_CONFLICT, _NOT_FOUND = 409, 404


class Keys:
    """The API keys of the caller."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[ApiKey]:
        """Return the keys, the newest first."""
        return [ApiKey.of(one) for one in self._connection.json("GET", "/v1/keys")["keys"]]

    def create(
        self,
        scopes: Sequence[str],
        *,
        name: str = "",
        networks: Sequence[str] | None = None,
        vfolders: Sequence[str] | None = None,
        expires_in_days: float | None = None,
    ) -> ApiKey:
        """Make a key, whose text (`key`) is shown this once.

        It never may more than the credential of this client.
        """
        optional = {"networks": networks, "vfolders": vfolders, "expires_in_days": expires_in_days}
        given = {key: value for key, value in optional.items() if value is not None}
        body = {"scopes": list(scopes), "name": name, **given}
        return ApiKey.of(self._connection.json("POST", "/v1/keys", json=body))

    def rename(self, key_id: str, name: str) -> ApiKey:
        """Give a key another name."""
        body = {"name": name}
        return ApiKey.of(
            self._connection.json("PATCH", f"/v1/keys/{key_id}", json=body, repeatable=True)
        )

    def rotate(self, key_id: str, *, overlap_seconds: float | None = None) -> ApiKey:
        """Give a key a new text; the old one is valid for `overlap_seconds` more."""
        body = {} if overlap_seconds is None else {"overlap_seconds": overlap_seconds}
        return ApiKey.of(self._connection.json("POST", f"/v1/keys/{key_id}/rotate", json=body))

    def revoke(self, key_id: str) -> None:
        """End a key."""
        self._connection.send("DELETE", f"/v1/keys/{key_id}", repeatable=True)


class Client:
    """A service, as one person or program reaches it. Threads may share a client.

    Cost: no request until the first call.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        ca: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.connection = Connection(url, key, ca=ca, patience_seconds=patience_seconds)
        self.jobs = Jobs(self.connection)
        self.keys = Keys(self.connection)

    @classmethod
    def from_context(cls, name: str | None = None) -> Self:
        """Return the client of a context; without a name of the environment, or the current one.

        Raises:
            ContextError: there is none.
        """
        return cls.of(current_context(name))

    @classmethod
    def of(cls, context: Context) -> Self:
        """Return the client of a context."""
        return cls(context.url, context.key, ca=context.ca)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.connection.close()

    def me(self) -> Mapping[str, Any]:
        """Return who asks: subject, groups, credential, limits, features, volumes."""
        found: Mapping[str, Any] = self.connection.json("GET", "/v1/me")
        return found

    def subjects(self, text: str = "") -> list[KnownSubject]:
        """Return up to 10 users and groups to share with: those of exactly this name come first.

        Those near the caller are found by a part of the name, others by the whole name or id.
        """
        answer = self.connection.json("GET", f"/v1/subjects?{in_query(q=text or None)}")
        return [KnownSubject(one["kind"], one["id"], one["name"]) for one in answer["subjects"]]

    # -- Quotas and notices ------------------------------------------------------------------------
    def quotas(self, scope: str | None = None, *, volume: str | None = None) -> list[Quota]:
        """Return what the caller and its groups hold and may hold; of one `scope` where given."""
        route = "/v1/quotas" if scope is None else f"/v1/quotas/{scope}"
        answer = self.connection.json("GET", f"{route}?{in_query(volume=volume)}")
        return [Quota.of(one) for one in answer["quotas"]]

    def set_quota(
        self,
        scope: str,
        limit_bytes: int | None,
        *,
        volume: str | None = None,
        total: bool = False,
        reason: str = "",
    ) -> list[Quota]:
        """Limit a scope on a volume, or with `total` over all, as an operator; None removes it.

        The audit log keeps the `reason`.
        """
        body: dict[str, Any] = {"limit_bytes": limit_bytes, "view": "total" if total else "scope"}
        if volume is not None:
            body["volume"] = volume
        if reason:
            body["reason"] = reason
        answer = self.connection.json("PUT", f"/v1/quotas/{scope}", json=body, repeatable=True)
        return [Quota.of(one) for one in answer["quotas"]]

    def notices(self) -> Iterator[Notice]:
        """Yield what concerns the caller, the newest first."""
        cursor = None
        while True:
            page = self.connection.json("GET", f"/v1/notices?{in_query(limit=1000, cursor=cursor)}")
            yield from map(Notice.of, page["notices"])
            cursor = page["next"]
            if cursor is None:
                return

    def mark_notice_read(self, notice_id: str) -> None:
        """Mark a notice as read."""
        self.connection.send("POST", f"/v1/notices/{notice_id}/read", repeatable=True)

    # -- VFolders ----------------------------------------------------------------------------------
    def vfolders(
        self,
        *,
        name: str | None = None,
        volume: str | None = None,
        group: str | None = None,
        owned: bool | None = None,
        shared: bool | None = None,
        trashed: bool | None = None,
    ) -> Iterator[VFolder]:
        """Yield the vfolders that the caller may see, in the order of their names.

        `name` is a part of it, in any case. While the service builds the index of a volume, some
        that others share may lack; their ids work.
        """
        filters = {"name": name, "volume": volume, "group": group}
        flags = {"owned": owned, "shared": shared, "trashed": trashed}
        cursor = None
        while True:
            query = in_query(**filters, **flags, limit=1000, cursor=cursor)
            page = self.connection.json("GET", f"/v1/vfolders?{query}")
            for document in page["vfolders"]:
                yield self._folder(VFolderInfo.of(document))
            cursor = page["next"]
            if not cursor:
                return

    def vfolder(self, name: str) -> VFolder:
        """Return a vfolder by `NAME`, `ID` or `VOLUME:ID`.

        Cost: one request; none for an id, which is looked at by the first call.

        Raises:
            VFolderNotFound: the caller sees none of this name.
            AmbiguousReference: several have it; `choices` names them.
        """
        if is_reference(name):
            return VFolder(self.connection, self.jobs, name)
        wanted = name_key(name)
        found = [one for one in self.vfolders(name=name) if name_key(one.name or "") == wanted]
        if not found:
            text = f"You see no vfolder of the name {name}."
            raise VFolderNotFound(_NOT_FOUND, {"detail": text})
        if len(found) > 1:
            choices = [one.info().reference for one in found]
            text = f"Several vfolders have the name {name}: {', '.join(choices)}."
            raise AmbiguousReference(_CONFLICT, {"detail": text, "choices": choices})
        return found[0]

    def create_vfolder(
        self,
        name: str,
        *,
        volume: str | None = None,
        owner: str | None = None,
        group_permission: str | None = None,
        expires_at: datetime | str | None = None,
    ) -> VFolder:
        """Make an empty vfolder, for the caller or for a group that it is an admin of.

        `owner` is `user:<uuid>` or `group:<uuid>`. A lost answer is no second vfolder.
        """
        optional = {
            "volume": volume,
            "owner": owner,
            "group_permission": group_permission,
            "expires_at": moment_text(expires_at),
        }
        body = {"name": name} | {key: one for key, one in optional.items() if one is not None}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        document = self.connection.json("POST", "/v1/vfolders", json=body, headers=headers)
        return self._folder(VFolderInfo.of(document))

    # -- Links -------------------------------------------------------------------------------------
    def links(self) -> Sequence[Link]:
        """Return the links that the caller made and did not revoke, of all vfolders."""
        return links_of_caller(self.connection)

    def revoke_link(self, link_id: str) -> None:
        """End a link: its URL is that of no link from now on."""
        revoke_link(self.connection, link_id)

    def _folder(self, info: VFolderInfo) -> VFolder:
        return VFolder(self.connection, self.jobs, info.reference, info)


def is_reference(text: str) -> bool:
    """Return whether a text is `ID` or `VOLUME:ID`."""
    try:
        uuid.UUID(text.rpartition(":")[2])
    except ValueError:
        return False
    return True


def name_key(name: str) -> str:
    """Return what two names have in common that the service calls equal."""
    return unicodedata.normalize("NFC", name).casefold()
