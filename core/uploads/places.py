"""The lists of open uploads: for a creation that met a bound, the end of a vfolder, operators."""

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from core.names import VFolderId
from core.uploads.store import (
    OPEN_KEY,
    UPLOAD_TTL_SECONDS,
    UploadStore,
    decoded,
    patiently,
    place_keys,
    session_key,
    upload_keys,
    vfolder_key,
)
from core.uploads.upload import Upload

#: A creation that met a bound looks at so many of the oldest places.
PLACES_CHECKED = 16
#: Uploads of a vfolder that are read at once.
FOUND_MAX = 500
#: By bound, the place in `place_keys` of the list that it counts.
_LISTS = {"scope": 1, "node": 2, "ticket": 3, "bytes": 3}

#: KEYS: a list of places, the bytes of the same ticket, the record of one upload in it. ARGV: its
#: id. An upload without a record loses its place; another one goes to the end of the list.
_CHECK_PLACE = """
if redis.call('EXISTS', KEYS[3]) == 1 then
  local t = redis.call('TIME')
  redis.call('ZADD', KEYS[1], 'XX', t[1] + t[2] / 1000000, ARGV[1])
  return 0
end
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
local bytes = redis.call('HGET', KEYS[2], ARGV[1])
if bytes then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[2], 'sum', -tonumber(bytes))
end
return 1
"""


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An open upload as the lists show it, read without a lease."""

    upload: Upload
    offset: int
    #: A request writes it now.
    is_written: bool
    #: Since when it has its place, or was last looked at (seconds ago, by the store's clock).
    idle_seconds: float = 0.0


class UploadPlaces:
    """The lists of open uploads of the cluster."""

    def __init__(self, store: UploadStore) -> None:
        self._client = store.client
        self._check = store.client.register_script(_CHECK_PLACE)

    def oldest(self, upload: Upload, bound: str) -> list[OpenUpload]:
        """Return the uploads with the oldest places of a bound that `upload` met.

        Places of expired uploads are freed, and the others go to the end of the list. Costs a
        round trip for the list and one for each of its oldest places.

        Raises:
            Unavailable: Redis does not answer.
        """
        keys = place_keys(upload)
        place, announced = keys[_LISTS[bound]], keys[4]
        found, now = patiently(lambda: self._with_clock(place))
        known = self._read([name for name, _ in found])
        for name, _ in found:
            checked = [place, announced, upload_keys(name)[2]]
            patiently(partial(self._check, keys=checked, args=[name]))
        return [
            OpenUpload(one.upload, one.offset, one.is_written, now - since)
            for (_, since), one in zip(found, known, strict=True)
            if one is not None
        ]

    def of_vfolder(self, volume: str, vfolder: VFolderId) -> list[OpenUpload]:
        """Return at most `FOUND_MAX` open uploads of a vfolder; none when there is none left.

        Ids without a record are taken off the list.

        Raises:
            Unavailable: Redis does not answer.
        """
        key = vfolder_key(volume, vfolder)
        while names := cast(
            "list[str]", patiently(lambda: self._client.zrange(key, 0, FOUND_MAX - 1))
        ):
            known = self._read(names)
            gone = [name for name, one in zip(names, known, strict=True) if one is None]
            if gone:
                patiently(partial(self._client.zrem, key, *gone))
            if found := [one for one in known if one is not None]:
                return found
        return []

    def page(self, limit: int, start: int = 0) -> list[OpenUpload]:
        """Return open uploads of the cluster from a place of the list on, the most silent first.

        `idle_seconds` is the time since the last bytes were committed. A page may have fewer than
        `limit`, and the list moves while uploads go on. Costs three round trips.

        Raises:
            Unavailable: Redis does not answer.
        """
        now = time.time()
        names: list[str] = patiently(
            lambda: self._client.zrangebyscore(OPEN_KEY, now, "+inf", start, limit)
        )
        return self._with_idle_time(names)

    def of_session(self, session: str) -> list[OpenUpload]:
        """Return at most `FOUND_MAX` open uploads of a session, the oldest first.

        Raises:
            Unavailable: Redis does not answer.
        """
        key = session_key(session)
        names = patiently(lambda: self._client.zrange(key, 0, FOUND_MAX - 1))
        found = self._read(cast("list[str]", names)) if names else []
        return [one for one in found if one is not None]

    def _with_idle_time(self, names: list[str]) -> list[OpenUpload]:
        known, left = self._read(names), self._seconds_left(names)
        return [
            replace(one, idle_seconds=max(0.0, UPLOAD_TTL_SECONDS - seconds))
            for one, seconds in zip(known, left, strict=True)
            if one is not None
        ]

    def _seconds_left(self, names: list[str]) -> list[float]:
        """Return how long each upload is kept without a further byte."""

        def read() -> list[Any]:
            with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.pttl(upload_keys(name)[0])
                return pipe.execute()

        return [max(0, left) / 1000 for left in patiently(read)]

    def _with_clock(self, place: str) -> tuple[list[tuple[str, float]], float]:
        with self._client.pipeline(transaction=False) as pipe:
            pipe.zrange(place, 0, PLACES_CHECKED - 1, withscores=True)
            pipe.time()
            found, (seconds, _) = pipe.execute()
        return found, float(seconds)

    def _read(self, names: list[str]) -> list[OpenUpload | None]:
        def read() -> list[Any]:
            with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    offset, lease, record, _, _ = upload_keys(name)
                    pipe.mget(offset, lease, record)
                return pipe.execute()

        return [
            None
            if offset is None or record is None
            else OpenUpload(decoded(record), int(offset), lease is not None)
            for offset, lease, record in patiently(read)
        ]
