"""The index of records: which vfolders a user or group owns or shares, on which volumes.

    vf:access:index:<volume>   hash: id of a vfolder -> JSON of an entry; no end
    vf:access:of:<word>        set of `<volume>:<id>`, for `user:<uuid>` and `group:<uuid>`, and for
                               links by `links.words_of`; no end
    vf:access:words            sorted set, all of score 0: the words of users and groups that own or
                               share a vfolder; no end
    vf:access:complete         set of the volumes whose index was built since the store began

It is in database 0 of the `live` role. It makes lists and decides nothing: each vfolder of a list
is read and decided. The files are the truth, so a lost index is built again from them.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import cast
from uuid import UUID

import msgspec
from msgspec import Struct

from core.access.links import words_of
from core.access.records import VFolderRecord
from core.redis import Database, connect
from core.settings import Settings

_INDEX = "vf:access:index:"
_OF = "vf:access:of:"
_WORDS = "vf:access:words"
COMPLETE = "vf:access:complete"
#: Entries of one read.
_MANY = 1000

#: KEYS: the hash, the words. ARGV: id, entry (empty drops it), revision, member, prefix of sets.
#: Revisions of an id in another scope of the volume tell nothing.
_PUT = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old then
  old = cjson.decode(old)
  if ARGV[2] ~= '' and old.revision > tonumber(ARGV[3]) then
    local own = string.match(cjson.decode(ARGV[2]).scope, '[^:]*$')
    if string.match(old.scope, '[^:]*$') == own then return 0 end
  end
  for _, word in ipairs(old.words) do
    redis.call('SREM', ARGV[5] .. word, ARGV[4])
    if redis.call('EXISTS', ARGV[5] .. word) == 0 then redis.call('ZREM', KEYS[2], word) end
  end
end
if ARGV[2] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
for _, word in ipairs(cjson.decode(ARGV[2]).words) do
  redis.call('SADD', ARGV[5] .. word, ARGV[4])
  if string.match(word, '^user:') or string.match(word, '^group:') then
    redis.call('ZADD', KEYS[2], 0, word)
  end
end
return 1
"""


class IndexEntry(Struct, frozen=True, kw_only=True):
    """What the index knows of one vfolder."""

    id: UUID
    volume: str
    #: `user:<uuid>` or `project:<uuid>`.
    scope: str
    revision: int
    name: str | None
    #: The owner and every grantee, by `user:<uuid>` or `group:<uuid>`; and the words of its links.
    words: list[str]


def entry_of(record: VFolderRecord) -> IndexEntry:
    """Return the entry of a record."""
    words = subjects_of(record)
    words |= {word for link in record.links for word in words_of(link)}
    return IndexEntry(
        id=record.id,
        volume=record.volume,
        scope=record.scope,
        revision=record.revision,
        name=record.name,
        words=sorted(words),
    )


def subjects_of(record: VFolderRecord) -> set[str]:
    """Return the owner and the grantees of a record, by `user:<uuid>` or `group:<uuid>`."""
    return {record.owner.word, *(grant.to for grant in record.grants)}


def _revision_in(text: bytes | None, scope: str) -> int:
    if not text:
        return 0
    entry = msgspec.json.decode(text, type=IndexEntry)
    return entry.revision if scope in ("", ".", _directory_of(text)) else 0


def _directory_of(text: bytes) -> str:
    scope = msgspec.json.decode(text, type=IndexEntry).scope
    return scope.rpartition(":")[2].replace("-", "") or "."


class AccessIndex:
    """The index as one process reaches it; made after the fork. Safe for threads.

    Every call raises `redis.RedisError` while the store is away.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings, Database.LIVE, text=False)
        self._put = self._redis.register_script(_PUT)

    def put(self, record: VFolderRecord) -> bool:
        """Enter a record; return whether it is not older than what the index knew."""
        text = msgspec.json.encode(entry_of(record))
        return bool(self._call(record.volume, record.id, text, record.revision))

    def drop(self, volume: str, vfolder: UUID) -> None:
        """Drop a vfolder that is gone; an unknown one is fine."""
        self._call(volume, vfolder, b"", 0)

    def _call(self, volume: str, vfolder: UUID, text: bytes, revision: int) -> int:
        member = f"{volume}:{vfolder.hex}"
        arguments: list[str | bytes | int] = [vfolder.hex, text, revision, member, _OF]
        return cast("int", self._put(keys=[_INDEX + volume, _WORDS], args=arguments))

    def revision(self, volume: str, vfolder: UUID, scope: str = "") -> int:
        """Return the newest revision that the index knows of a vfolder; see `revisions`."""
        return self.revisions(volume, [(vfolder, scope)])[0]

    def revisions(self, volume: str, places: Sequence[tuple[UUID, str]]) -> list[int]:
        """Return the newest revision that the index knows of each vfolder; 0 for an unknown one.

        A place is an id and the directory of its quota scope: the id in another one is another
        vfolder. Costs one round trip for each 1,000 vfolders.
        """
        texts = self._texts(volume, [vfolder.hex for vfolder, _ in places])
        return [_revision_in(text, scope) for text, (_, scope) in zip(texts, places, strict=True)]

    def words(self, volume: str, vfolder: UUID) -> list[str]:
        """Return the words of a vfolder's entry, also after its end; empty for an unknown one."""
        (text,) = self._texts(volume, [vfolder.hex])
        return [] if text is None else msgspec.json.decode(text, type=IndexEntry).words

    def scopes_with(self, volume: str, vfolder: UUID) -> list[str] | None:
        """Return the directory of the scope with the record of a vfolder; empty where none is.

        None where the index of the volume was not built. Costs one round trip.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.sismember(COMPLETE, volume)
            pipe.hget(_INDEX + volume, vfolder.hex)
            built, text = cast("tuple[int, bytes | None]", pipe.execute())
        if not built:
            return None
        return [_directory_of(text)] if text else []

    def shared_with(self, words: Iterable[str]) -> list[IndexEntry]:
        """Return what these users and groups own or share, in the order of volume and id.

        Costs one round trip for the sets, and one for each 1,000 entries of a volume.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for word in sorted(set(words)):
                pipe.smembers(_OF + word)
            found = cast("list[set[bytes]]", pipe.execute())
        places: dict[str, list[str]] = {}
        for member in sorted(set[bytes]().union(*found)):
            volume, _, vfolder = member.decode().rpartition(":")
            places.setdefault(volume, []).append(vfolder)
        return [entry for volume, ids in places.items() for entry in self._entries(volume, ids)]

    def holders(self, prefix: str, after: str, limit: int) -> list[str]:
        """Return users and groups that own or share a vfolder, those behind `after`, in order.

        Each is `user:<uuid>` or `group:<uuid>` and begins with the prefix. Costs one round trip.
        """
        behind = f"({after}" if after >= prefix else f"[{prefix}"
        found = self._redis.zrangebylex(_WORDS, behind, f"({prefix}\xff", start=0, num=limit)
        return [word.decode() for word in cast("list[bytes]", found)]

    def counts(self, words: Sequence[str]) -> list[int]:
        """Return how many vfolders each of these users and groups owns or shares.

        Costs one round trip.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for word in words:
                pipe.scard(_OF + word)
            return cast("list[int]", pipe.execute())

    def _entries(self, volume: str, ids: list[str]) -> Iterator[IndexEntry]:
        for text in self._texts(volume, ids):
            if text is not None:  # dropped since the sets were read
                yield msgspec.json.decode(text, type=IndexEntry)

    def _texts(self, volume: str, ids: list[str]) -> Iterator[bytes | None]:
        for start in range(0, len(ids), _MANY):
            part = ids[start : start + _MANY]
            yield from cast("list[bytes | None]", self._redis.hmget(_INDEX + volume, part))

    def is_complete(self, volume: str) -> bool:
        """Return whether the index of a volume was built; lists of others may lack something."""
        return bool(self._redis.sismember(COMPLETE, volume))

    def rebuild(
        self, volume: str, found: Iterable[VFolderRecord], spared: Container[UUID] = ()
    ) -> tuple[int, int]:
        """Enter every record of a volume, and drop what is not among them.

        A record that was changed meanwhile keeps its newer entry. The entries of `spared` stay,
        which is looked at last: they tell that an older record is forged. Return how many were
        entered and dropped.
        """
        known = {bytes(name) for name in cast("list[bytes]", self._redis.hkeys(_INDEX + volume))}
        entered = 0
        for record in found:
            self.put(record)
            known.discard(record.id.hex.encode())
            entered += 1
        gone = [one for one in (UUID(name.decode()) for name in known) if one not in spared]
        for one in gone:
            self.drop(volume, one)
        self._redis.sadd(COMPLETE, volume)
        return entered, len(gone)
