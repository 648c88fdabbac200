"""Uploads in Redis: the record of each, its committed offset, and the lease of its writer.

    tus.upload.offset:<id>   committed bytes, a decimal; kept 24 h after the last commit
    tus.upload.lease:<id>    `<node>:<32 hex>` of the one writer; 30 s, renewed while it writes
    tus.upload.record:<id>   the `Upload` as JSON; kept as long as the offset
    tus.upload.rewind:<id>   the start of a request that was cut off: its sender may know only this
    tus.upload.wanted:<id>   a process waits for the lease; the writer ends its request soon
    tus.upload.ended:<id>    the session of an upload that its sender gave up; kept a day
    tus.upload.open.<of>:<…> the ids of open uploads of a vfolder, a scope, a node or a ticket, each
                             by the moment since when it has its place; kept eight days
    tus.upload.open.all      the ids of all open uploads, by the moment at which they expire
    tus.upload.bytes:<…>     what the open uploads of a ticket announce, by id, and the sum

The first two keys are those of the reference service, so that both services can continue each
other's uploads. Every change by a writer is one script that first checks the lease: a writer that
lost it (after a pause or a partition) can commit nothing. `backends.uploads` writes the bytes; when
file and offset differ after a crash, the smaller one counts.

An upload has a place among the open ones from its creation until it is finished or forgotten. The
script that creates the record checks the bounds and takes the places. A record that expired leaves
its places behind. A creation that meets a bound frees such places, the oldest first.
"""

import json
import time
from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

import msgspec
import redis

from core.names import VFolderId
from core.redis import AWAY, ScriptCall, retrying, store_is_away, store_problem
from core.uploads.upload import (
    LeaseRequest,
    TooManyUploads,
    Upload,
    UploadBounds,
    UploadExists,
    UploadLease,
    UploadLeaseHeld,
    UploadLeaseLost,
    UploadNotFound,
    UploadProgress,
)

#: An upload without a write for this long is forgotten, and a sweep removes its bytes.
UPLOAD_TTL_SECONDS = 86_400
#: What ended is remembered this long, for a client that did not receive the last answer.
ENDED_TTL_SECONDS = 86_400
#: A writer that does not renew its lease for this long is dead.
LEASE_SECONDS = 30
#: A request for the lease expires after this long; the waiting process repeats it.
REQUEST_SECONDS = 3
#: A process that waits for a lease checks this often.
POLL_SECONDS = 0.05
#: When Redis does not answer, calls are repeated for this long: some clients give up on a 503.
STORE_PATIENCE_SECONDS = 5.0
STORE_PAUSE_SECONDS = 0.2
#: The lists of open uploads are kept this long after the last creation. Uploads and tickets
#: rarely live longer.
PLACES_TTL_SECONDS = 8 * 86_400
#: All open uploads of the cluster, by the moment at which their record expires (seconds).
OPEN_KEY = "tus.upload.open.all"
#: After how many seconds a refused caller may try again.
RETRY_SECONDS = 60
#: The largest sum that a script adds exactly (Lua has floating point numbers only).
_BYTES_MAX = 2**52

#: Every script takes the keys of one upload: offset, lease, record, rewind, wanted. ARGV[1] is
#: the writer's name in the lease, or the record to create. Scripts that create or end an upload
#: also take the keys of its places: vfolder, scope, node, ticket, the bytes of the ticket, and all.
_ACQUIRE = """
local offset = redis.call('GET', KEYS[1])
local record = redis.call('GET', KEYS[3])
if not offset or not record then return {'gone'} end
if ARGV[4] ~= '' and not string.find(record, ARGV[4], 1, true) then return {'gone'} end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then
  return {'held', holder}
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
redis.call('DEL', KEYS[5])
redis.call('ZADD', KEYS[6], 'XX', redis.call('TIME')[1] + ARGV[6], ARGV[5])
return {'yours', offset, redis.call('GET', KEYS[4]) or '', record}
"""
_ADVANCE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
redis.call('EXPIRE', KEYS[3], ARGV[4])
if ARGV[5] == '' then redis.call('DEL', KEYS[4])
else redis.call('SET', KEYS[4], ARGV[5], 'EX', ARGV[4]) end
if ARGV[6] == '1' then
  redis.call('DEL', KEYS[2], KEYS[5])
  return ''
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
return redis.call('GET', KEYS[5]) or ''
"""
_LEAVE = """
local function leave(id)
  redis.call('ZREM', KEYS[6], id)
  redis.call('ZREM', KEYS[7], id)
  redis.call('ZREM', KEYS[8], id)
  redis.call('ZREM', KEYS[11], id)
  if redis.call('ZREM', KEYS[9], id) == 0 then return end
  local bytes = tonumber(redis.call('HGET', KEYS[10], id) or '0')
  redis.call('HDEL', KEYS[10], id)
  if redis.call('ZCARD', KEYS[9]) == 0 then redis.call('DEL', KEYS[10])
  else redis.call('HINCRBY', KEYS[10], 'sum', -bytes) end
end
"""
#: ARGV: the writer's name, the record, its TTL, the id, announced bytes; '' for a finished upload.
_SAVE = (
    _LEAVE
    + """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[3])
if ARGV[5] == '' then leave(ARGV[4]) return 0 end
local before = redis.call('HGET', KEYS[10], ARGV[4])
if before then
  redis.call('HSET', KEYS[10], ARGV[4], ARGV[5])
  redis.call('HINCRBY', KEYS[10], 'sum', tonumber(ARGV[5]) - tonumber(before))
end
return 0
"""
)
#: ARGV: the record, its TTL, the id, announced bytes, TTL of the places, whether scope and node
#: count it, whether its ticket does; the bounds of a ticket, of its bytes, of a scope and of a
#: node; whether the list of its vfolder has it.
#: Begins the session of a visitor's uploads, `link:<link>:<visit>`; no ticket has such a session.
LINK_SESSION = "link:"
_CREATE = """
local known = redis.call('GET', KEYS[3])
if known == ARGV[1] then return 'made' end
if known or redis.call('EXISTS', KEYS[1]) == 1 then return 'exists' end
local function full(key, bound)
  return tonumber(bound) > 0 and redis.call('ZCARD', key) >= tonumber(bound)
end
local t = redis.call('TIME')
local function enter(key)
  redis.call('ZADD', key, t[1] + t[2] / 1000000, ARGV[3])
  redis.call('EXPIRE', key, ARGV[5])
end
if ARGV[6] == '1' then
  if full(KEYS[7], ARGV[10]) then return 'scope' end
  if full(KEYS[8], ARGV[11]) then return 'node' end
  if ARGV[7] == '1' then
    if full(KEYS[9], ARGV[8]) then return 'ticket' end
    local sum = tonumber(redis.call('HGET', KEYS[10], 'sum') or '0') + tonumber(ARGV[4])
    if tonumber(ARGV[9]) > 0 and sum > tonumber(ARGV[9]) then return 'bytes' end
    enter(KEYS[9])
    redis.call('HSET', KEYS[10], ARGV[3], ARGV[4])
    redis.call('HINCRBY', KEYS[10], 'sum', ARGV[4])
    redis.call('EXPIRE', KEYS[10], ARGV[5])
  end
  enter(KEYS[7])
  enter(KEYS[8])
end
if ARGV[12] == '1' then
  enter(KEYS[6])
  local over = redis.call('ZRANGEBYSCORE', KEYS[11], '-inf', t[1], 'LIMIT', 0, 10)
  for _, id in ipairs(over) do redis.call('ZREM', KEYS[11], id) end
  redis.call('ZADD', KEYS[11], t[1] + ARGV[2], ARGV[3])
end
redis.call('SET', KEYS[1], '0', 'EX', ARGV[2])
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[2])
return 'made'
"""
_RELEASE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[2], KEYS[5])
"""
_FORGET = (
    _LEAVE
    + """
if ARGV[3] ~= '' and redis.call('GET', KEYS[12]) == ARGV[3] then return 0 end
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
leave(ARGV[2])
if ARGV[3] ~= '' then redis.call('SET', KEYS[12], ARGV[3], 'EX', ARGV[4]) end
return 0
"""
)


def _encoded(upload: Upload) -> str:
    """Return the record as text. Only `json` takes lone surrogates: names that are not UTF-8."""
    return json.dumps(msgspec.to_builtins(upload))


def decoded(text: str) -> Upload:
    """Return the upload of a record's text."""
    return msgspec.convert(json.loads(text), Upload)


class UploadStore:
    """All uploads of the cluster. Safe for threads; one per process.

    Every method raises `StoreUnavailable` when Redis does not answer for `STORE_PATIENCE_SECONDS`.
    """

    def __init__(
        self, client: "redis.Redis", node: str, bounds: UploadBounds | None = None
    ) -> None:
        """Use database 8 of `client`, which must return text, for the node of this id."""
        self._client = client
        self.node = node
        self._bounds = bounds or UploadBounds()
        self._acquire = ScriptCall(client, _ACQUIRE)
        self._advance = ScriptCall(client, _ADVANCE)
        self._save = client.register_script(_SAVE)
        self._create = client.register_script(_CREATE)
        self._release = client.register_script(_RELEASE)
        self._forget = client.register_script(_FORGET)

    @property
    def client(self) -> "redis.Redis":
        """The client of the store."""
        return self._client

    def create(self, upload: Upload) -> None:
        """Record a new upload at offset 0; its staging file must exist already.

        Raises:
            UploadExists: an upload has this id already.
            TooManyUploads: it would pass a bound; nothing was recorded.
        """
        upload = msgspec.structs.replace(upload, node=self.node)
        args: list[str | int] = [
            _encoded(upload),
            UPLOAD_TTL_SECONDS,
            upload.id,
            _announced(upload),
            PLACES_TTL_SECONDS,
            int(upload.is_counted),
            int(upload.is_ticketed and upload.is_counted),
            self._bounds.per_ticket,
            min(self._bounds.ticket_bytes(upload), _BYTES_MAX),
            self._bounds.per_scope,
            self._bounds.per_node,
            int(not upload.finished),
        ]
        keys = [*upload_keys(upload.id), *place_keys(upload)]
        answer = patiently(lambda: self._create(keys=keys, args=args))
        if answer == "exists":
            raise UploadExists("An upload of that id is already open.")
        if answer != "made":
            raise TooManyUploads(_REFUSALS[answer], bound=answer, retry_after=RETRY_SECONDS)

    def get(self, upload_id: str, *, forget_rewind: bool = False) -> UploadProgress:
        """Return the upload and its committed offset, without a lease.

        `forget_rewind` is for an answer that tells the sender the offset: then no earlier offset of
        the sender is accepted any more.

        Raises:
            UploadNotFound: no upload has this id.
        """
        offset_key, _, record_key, rewind_key, _ = upload_keys(upload_id)

        def read() -> list[Any]:
            if not forget_rewind:
                return cast("list[Any]", self._client.mget(offset_key, record_key))
            with self._client.pipeline(transaction=True) as pipe:
                pipe.mget(offset_key, record_key)
                pipe.delete(rewind_key)
                return cast("list[Any]", pipe.execute()[0])

        offset, text = patiently(read)
        if offset is None or text is None:
            raise UploadNotFound("No such upload is open; it may have ended or expired.")
        return UploadProgress(decoded(text), int(offset))

    def count(self) -> int:
        """Return the number of open uploads of the cluster; its cost does not grow with them."""
        return int(patiently(lambda: self._client.zcount(OPEN_KEY, time.time(), "+inf")))

    def exists(self, upload_ids: list[str]) -> list[bool]:
        """Return for each id whether there is an upload; costs one round trip."""

        def read() -> list[Any]:
            with self._client.pipeline(transaction=False) as pipe:
                for upload_id in upload_ids:
                    pipe.exists(upload_keys(upload_id)[0])
                return pipe.execute()

        return [bool(count) for count in patiently(read)]

    def acquire(
        self,
        upload_id: str,
        wait_seconds: float,
        lock: Callable[[], bool | None],
        request: LeaseRequest = LeaseRequest.TO_WRITE,
        *,
        session: str = "",
    ) -> UploadLease:
        """Return the lease of the one writer; ask the present writer to end, and wait for it.

        `lock` tries to lock the staging file: True is success, False means that another process has
        the lock, None that the file system has no locks. A lease of this node whose file we could
        lock belongs to a dead process: it is taken over at once, before it expires. With `session`,
        an upload of another session counts as not found.

        Raises:
            UploadNotFound: no upload has this id, or it belongs to another session.
            UploadLeaseHeld: the holder did not end within the wait.
        """
        owner = f"{self.node}:{uuid4().hex}"
        session_text = _session_of(session)
        deadline = time.monotonic() + wait_seconds
        dead, locked = "", lock()
        if locked is False and session:  # only a request of its own session may disturb the holder
            self._check_session(upload_id, session)
        while True:
            if locked is not False:
                answer = self._try_acquire(upload_id, owner, dead, session_text)
                if answer[0] == "yours":
                    offset, rewind, text = answer[1:]
                    return UploadLease(
                        upload_id, owner, int(offset), _rewind(rewind), decoded(text)
                    )
                if answer[0] == "gone":
                    raise UploadNotFound("No such upload is open; it may have ended or expired.")
                dead = answer[1] if locked and self._is_own(answer[1]) else ""
            if not dead:
                self._request(upload_id, request, deadline)
            locked = locked or lock()

    def _check_session(self, upload_id: str, session: str) -> None:
        if self.get(upload_id).upload.session != session:
            raise UploadNotFound("No such upload is open; it may have ended or expired.")

    def _try_acquire(self, upload_id: str, owner: str, dead: str, session_text: str) -> list[str]:
        args = [owner, str(LEASE_SECONDS), dead, session_text, upload_id, str(UPLOAD_TTL_SECONDS)]
        keys = [*upload_keys(upload_id), OPEN_KEY]
        answer: list[str] = patiently(lambda: self._acquire(keys, args))
        return answer

    def _request(self, upload_id: str, request: LeaseRequest, deadline: float) -> None:
        """Tell the holder that a process waits for the lease, and wait `POLL_SECONDS`."""
        if time.monotonic() >= deadline:
            raise UploadLeaseHeld("Another request is writing this upload; try again shortly.")
        key, only_new = upload_keys(upload_id)[4], request is LeaseRequest.TO_READ
        patiently(lambda: self._client.set(key, request, ex=REQUEST_SECONDS, nx=only_new))
        time.sleep(POLL_SECONDS)

    def _is_own(self, holder: str) -> bool:
        return holder.rpartition(":")[0] == self.node

    def advance(
        self,
        lease: UploadLease,
        offset: int,
        *,
        rewind: int | None = None,
        release: bool = False,
        meanwhile: Callable[[], object] | None = None,
    ) -> LeaseRequest:
        """Commit bytes up to `offset` and renew the lease; return whether a process waits for it.

        `rewind` is the start of the present request; it is kept for a sender that is cut off. With
        `release` the lease is released in the same step. `meanwhile` is called while Redis works,
        and again when the call is repeated.

        Raises:
            UploadLeaseLost: another writer has the lease; nothing was changed.
        """
        start = "" if rewind is None else str(rewind)
        args = [lease.owner, str(offset), str(LEASE_SECONDS), str(UPLOAD_TTL_SECONDS), start]
        args.append("1" if release else "")
        answer = patiently(lambda: self._advance(upload_keys(lease.id), args, meanwhile))
        if answer == -1:
            raise UploadLeaseLost(
                "The upload went to another writer; ask for its offset and go on."
            )
        lease.offset, lease.rewind, lease.released = offset, rewind, release
        return LeaseRequest(answer)

    def save(self, lease: UploadLease, upload: Upload) -> None:
        """Replace the record: its length became known, or the upload is finished.

        Raises:
            UploadLeaseLost: another writer has the lease; nothing was changed.
        """
        ttl = ENDED_TTL_SECONDS if upload.finished else UPLOAD_TTL_SECONDS
        announced = "" if upload.finished else _announced(upload)
        args = [lease.owner, _encoded(upload), str(ttl), upload.id, announced]
        keys = [*upload_keys(lease.id), *place_keys(upload)]
        if int(patiently(lambda: self._save(keys=keys, args=args))) < 0:
            raise UploadLeaseLost(
                "The upload went to another writer; ask for its offset and go on."
            )

    def release(self, lease: UploadLease) -> None:
        """Release the lease; a lost lease is not touched."""
        if lease.released:
            return
        patiently(lambda: self._release(keys=upload_keys(lease.id), args=[lease.owner]))

    def forget(
        self, upload_id: str, lease: UploadLease | None = None, *, given_up_by: str = ""
    ) -> None:
        """Remove every key of an upload, and its places; with a lease only if it is still valid.

        `given_up_by` is the session of a sender that gave it up; see `was_given_up`.

        Raises:
            UploadLeaseLost: another writer has the lease; nothing was changed.
        """
        keys = upload_keys(upload_id)
        text = patiently(lambda: self._client.get(keys[2]))
        args = [lease.owner if lease else "", upload_id, given_up_by, str(ENDED_TTL_SECONDS)]
        keys += place_keys(decoded(text)) if text else _NO_PLACES
        keys.append(_ended_key(upload_id))
        if int(patiently(lambda: self._forget(keys=keys, args=args))) < 0:
            raise UploadLeaseLost(
                "The upload went to another writer; ask for its offset and go on."
            )

    def was_given_up(self, upload_id: str, session: str) -> bool:
        """Return whether a sender of this session gave the upload up within the last day."""
        kept = patiently(lambda: self._client.get(_ended_key(upload_id)))
        return bool(session) and kept == session


def _session_of(session: str) -> str:
    """Return the text of a session in a record, which no other text in it can equal; "" for any.

    The script compares text, because the JSON parser of Redis refuses names that are not UTF-8.
    """
    return f'"session": {json.dumps(session)}' if session else ""


def _rewind(text: str) -> int | None:
    return int(text) if text else None


def _announced(upload: Upload) -> int:
    """Return the bytes that an upload may have; without a length, what its ticket allows."""
    return min((upload.limit if upload.length is None else upload.length) or 0, _BYTES_MAX)


def place_keys(upload: Upload) -> list[str]:
    """Return the keys of an upload's places: vfolder, scope, node, ticket, its bytes, and all."""
    vfolder = VFolderId.parse(upload.vfolder)
    return [
        vfolder_key(upload.volume, vfolder),
        f"tus.upload.open.scope:{upload.volume}:{vfolder.scope or ''}",
        f"tus.upload.open.node:{upload.node}",
        session_key(upload.session),
        f"tus.upload.bytes:{upload.session}",
        OPEN_KEY,
    ]


def session_key(session: str) -> str:
    """Return the key of the list of the open uploads of a ticket, a person or a link.

    The visits of one link have one list, so that many visits open no more than one.
    """
    if session.startswith(LINK_SESSION):
        session = session.rpartition(":")[0]
    return f"tus.upload.open.ticket:{session}"


def vfolder_key(volume: str, vfolder: VFolderId) -> str:
    """Return the key of the list of a vfolder's open uploads."""
    return f"tus.upload.open.vfolder:{volume}:{vfolder}"


def upload_keys(upload_id: str) -> list[str]:
    """Return the keys of one upload: offset, lease, record, rewind, wanted."""
    return [f"tus.upload.{of}:{upload_id}" for of in _KEY_KINDS]


def _ended_key(upload_id: str) -> str:
    return f"tus.upload.ended:{upload_id}"


#: Keys that do not exist, in place of those of an upload without a record.
_NO_PLACES = ["tus.upload.open.none"] * 4 + ["tus.upload.bytes.none", OPEN_KEY]
_KEY_KINDS = ("offset", "lease", "record", "rewind", "wanted")

#: By the bound that a creation met: whose uploads are too many, and what its caller can do.
_REFUSALS = {
    "ticket": "As many uploads are open under this ticket as may be; finish or end some first.",
    "bytes": "The open uploads of this ticket announce as many bytes as they may together; finish"
    " or end some first, or ask for a new ticket.",
    "scope": "As many uploads are open in this quota scope as may be; try again later.",
    "node": "As many uploads are open on this node as may be; try again later.",
}


def patiently(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what Redis answers
    """Call Redis, and again when it does not answer: every script may run twice."""
    try:
        try:
            return call()
        except AWAY:
            return _again(call)
    except redis.RedisError as error:
        if not store_is_away(error):  # a defect of ours: it must not look like an absent store
            raise
        raise store_problem(error) from error


def _again(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what Redis answers
    time.sleep(STORE_PAUSE_SECONDS)
    tries = retrying(
        first_pause_seconds=STORE_PAUSE_SECONDS,
        longest_pause_seconds=STORE_PAUSE_SECONDS,
        patience_seconds=STORE_PATIENCE_SECONDS,
    )
    return tries(call)
