"""The cluster's etcd, in the form of its other services: keys by scope, values as text.

The key `a/b` of the cluster is `/sorna/<namespace>/a/b`. Below `nodes/storage/<node>` it applies to
one node, before the cluster's. Parts of keys are percent-quoted.
"""

from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from core.errors import Unavailable
from core.settings.reference import EtcdTable
from core.settings.units import Address, address

if TYPE_CHECKING:
    from etcd3gw.client import Etcd3Client
    from etcd3gw.lease import Lease

#: A member that does not answer within this time is skipped.
ANSWER_SECONDS = 2.0
#: A tree of values: text, or a tree below a part of the key.
Tree = dict[str, Any]


def members(table: EtcdTable) -> list[Address]:
    """Return the addresses of the members.

    Raises:
        ValueError: an address has another form than `host:port`.
    """
    found = table.addr if isinstance(table.addr, list) else [table.addr]
    texts = [text for one in found for text in (one.split(",") if isinstance(one, str) else [one])]
    return [address(text) for text in texts]


class Etcd:
    """A connection to etcd; the members are tried in turn.

    Every method raises `Unavailable` when no member answers.
    """

    def __init__(self, table: EtcdTable, node_id: str) -> None:
        self._table = table
        self._top = f"/sorna/{quote(table.namespace, safe='')}"
        self._node = f"nodes/storage/{quote(node_id, safe='')}"
        self._client: Etcd3Client | None = None

    def tree(self, prefix: str) -> Tree:
        """Return every value below a prefix; the node's replace the cluster's."""
        found: dict[str, str] = {}
        for scope in ("", f"{self._node}/"):
            top = f"{self._top}/{scope}{prefix}/"
            for value, where in self._do(lambda client, top=top: client.get_prefix(top)):
                found[bytes(where["key"]).decode().removeprefix(top)] = value.decode()
        return _nested(found)

    def put(self, prefix: str, values: dict[str, str], seconds: int) -> None:
        """Write values below a prefix; they expire after `seconds` unless written again."""

        def write(client: "Etcd3Client") -> None:
            lease: Lease = client.lease(seconds)
            for key, value in values.items():
                client.put(f"{self._top}/{prefix}/{key}", value, lease)

        self._do(write)

    def remove(self, prefix: str) -> None:
        """Remove every value below a prefix."""
        self._do(lambda client: client.delete_prefix(f"{self._top}/{prefix}/"))

    def ask(self) -> None:
        """Check that a member answers."""
        self._do(lambda client: client.status())

    def _do(self, call: Any) -> Any:  # noqa: ANN401 - the result of the call
        if self._client is not None:
            try:
                return call(self._client)
            except _failures():
                self._client = None
        for where in members(self._table):
            try:
                client = self._connected(where)
                result = call(client)
            except _failures():
                continue
            self._client = client
            return result
        raise Unavailable("No member of etcd answers ([etcd] addr).")

    def _connected(self, where: Address) -> "Etcd3Client":
        from etcd3gw.client import Etcd3Client  # noqa: PLC0415 - see _failures

        client = Etcd3Client(where.host, where.port, timeout=ANSWER_SECONDS)
        client.session.trust_env = False
        if self._table.user:
            known = {"name": self._table.user, "password": self._table.password or ""}
            token = client.post(client.get_url("/auth/authenticate"), json=known)["token"]
            client.session.headers["Authorization"] = token
        return client


@cache
def _failures() -> tuple[type[Exception], ...]:
    """Return what calls raise. Only nodes with an etcd load its client, which takes long."""
    import requests  # noqa: PLC0415 - as above
    from etcd3gw.exceptions import Etcd3Exception  # noqa: PLC0415 - as above

    return (Etcd3Exception, requests.RequestException)


def _nested(flat: dict[str, str]) -> Tree:
    found: Tree = {}
    for key, value in flat.items():
        *parts, last = [unquote(part) for part in key.split("/")]
        tree = found
        for part in parts:
            tree = tree.setdefault(part, {})
        tree[last] = value
    return found
