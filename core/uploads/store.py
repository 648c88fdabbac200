"""Uploads in Redis: the record of each, its committed offset, and the lease of its writer.

    tus.upload.offset:<id>   committed bytes, a decimal; kept 24 h after the last commit
    tus.upload.lease:<id>    `<node>:<32 hex>` of the one writer; 30 s, renewed while it writes
    tus.upload.record:<id>   the `Upload` as JSON; kept as long as the offset
    tus.upload.rewind:<id>   the start of a request that was cut off: its sender may know only this
    tus.upload.wanted:<id>   a process waits for the lease; the writer ends its request soon

The first two keys are those of the reference service, so that both services can continue each
other's uploads. Every change by a writer is one script that first checks the lease: a writer that
lost it (after a pause or a partition) can commit nothing. `backends.uploads` writes the bytes; when
file and offset differ after a crash, the smaller one counts.
"""

import json
import time
from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

import msgspec
import redis

from core.errors import Unavailable
from core.redis import AWAY, ScriptCall, retrying
from core.uploads.upload import (
    LeaseRequest,
    Upload,
    UploadExists,
    UploadLease,
    UploadLeaseHeld,
    UploadLeaseLost,
    UploadNotFound,
    UploadProgress,
)

#: An upload without a write for this long is forgotten, and a sweep removes its bytes.
UPLOAD_TTL_SECONDS = 86_400
#: A finished upload is kept this long, for a client that did not receive the last answer.
FINISHED_TTL_SECONDS = 3_600
#: A writer that does not renew its lease for this long is dead.
LEASE_SECONDS = 30
#: A request for the lease expires after this long; the waiting process repeats it.
REQUEST_SECONDS = 3
#: A process that waits for a lease checks this often.
POLL_SECONDS = 0.05
#: When Redis does not answer, calls are repeated for this long: some clients give up on a 503.
STORE_PATIENCE_SECONDS = 5.0
STORE_PAUSE_SECONDS = 0.2

#: Every script takes the keys of one upload: offset, lease, record, rewind, wanted. ARGV[1] is
#: the writer's name in the lease, or the record to create.
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
_SAVE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 0
"""
_CREATE = """
local known = redis.call('GET', KEYS[3])
if known == ARGV[1] then return 1 end
if known or redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], '0', 'EX', ARGV[2])
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[2], KEYS[5])
"""
_FORGET = """
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 0
"""


def _encoded(upload: Upload) -> str:
    """Return the record as text. Only `json` takes lone surrogates: names that are not UTF-8."""
    return json.dumps(msgspec.to_builtins(upload))


def _decoded(text: str) -> Upload:
    return msgspec.convert(json.loads(text), Upload)


class UploadStore:
    """All uploads of the cluster. Safe for threads; one per process.

    Every method raises `Unavailable` when Redis does not answer for `STORE_PATIENCE_SECONDS`.
    """

    def __init__(self, client: "redis.Redis", node: str) -> None:
        """Use database 8 of `client`, which must return text, for the node of this id."""
        self._client = client
        self.node = node
        self._acquire = ScriptCall(client, _ACQUIRE)
        self._advance = ScriptCall(client, _ADVANCE)
        self._save = client.register_script(_SAVE)
        self._create = client.register_script(_CREATE)
        self._release = client.register_script(_RELEASE)
        self._forget = client.register_script(_FORGET)

    def create(self, upload: Upload) -> None:
        """Record a new upload at offset 0; its staging file must exist already.

        Raises:
            UploadExists: an upload has this id already.
        """
        text = _encoded(upload)
        if not _patiently(
            lambda: self._create(keys=_keys(upload.id), args=[text, UPLOAD_TTL_SECONDS])
        ):
            raise UploadExists("An upload of that id is already open.")

    def get(self, upload_id: str, *, forget_rewind: bool = False) -> UploadProgress:
        """Return the upload and its committed offset, without a lease.

        `forget_rewind` is for an answer that tells the sender the offset: then no earlier offset of
        the sender is accepted any more.

        Raises:
            UploadNotFound: no upload has this id.
        """
        offset_key, _, record_key, rewind_key, _ = _keys(upload_id)

        def read() -> list[Any]:
            if not forget_rewind:
                return cast("list[Any]", self._client.mget(offset_key, record_key))
            with self._client.pipeline(transaction=True) as pipe:
                pipe.mget(offset_key, record_key)
                pipe.delete(rewind_key)
                return cast("list[Any]", pipe.execute()[0])

        offset, text = _patiently(read)
        if offset is None or text is None:
            raise UploadNotFound("No such upload is open; it may have ended or expired.")
        return UploadProgress(_decoded(text), int(offset))

    def exists(self, upload_ids: list[str]) -> list[bool]:
        """Return for each id whether there is an upload; costs one round trip."""

        def read() -> list[Any]:
            with self._client.pipeline(transaction=False) as pipe:
                for upload_id in upload_ids:
                    pipe.exists(_keys(upload_id)[0])
                return pipe.execute()

        return [bool(count) for count in _patiently(read)]

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
                        upload_id, owner, int(offset), _rewind(rewind), _decoded(text)
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
        args = [owner, str(LEASE_SECONDS), dead, session_text]
        answer: list[str] = _patiently(lambda: self._acquire(_keys(upload_id), args))
        return answer

    def _request(self, upload_id: str, request: LeaseRequest, deadline: float) -> None:
        """Tell the holder that a process waits for the lease, and wait `POLL_SECONDS`."""
        if time.monotonic() >= deadline:
            raise UploadLeaseHeld("Another request is writing this upload; try again shortly.")
        key, only_new = _keys(upload_id)[4], request is LeaseRequest.TO_READ
        _patiently(lambda: self._client.set(key, request, ex=REQUEST_SECONDS, nx=only_new))
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
        answer = _patiently(lambda: self._advance(_keys(lease.id), args, meanwhile))
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
        ttl = FINISHED_TTL_SECONDS if upload.finished else UPLOAD_TTL_SECONDS
        args = [lease.owner, _encoded(upload), str(ttl)]
        if int(_patiently(lambda: self._save(keys=_keys(lease.id), args=args))) < 0:
            raise UploadLeaseLost(
                "The upload went to another writer; ask for its offset and go on."
            )

    def release(self, lease: UploadLease) -> None:
        """Release the lease; a lost lease is not touched."""
        if lease.released:
            return
        _patiently(lambda: self._release(keys=_keys(lease.id), args=[lease.owner]))

    def forget(self, upload_id: str, lease: UploadLease | None = None) -> None:
        """Remove every key of an upload; with a lease only if it is still valid.

        Raises:
            UploadLeaseLost: another writer has the lease; nothing was changed.
        """
        args = [lease.owner if lease else ""]
        if int(_patiently(lambda: self._forget(keys=_keys(upload_id), args=args))) < 0:
            raise UploadLeaseLost(
                "The upload went to another writer; ask for its offset and go on."
            )


def _session_of(session: str) -> str:
    """Return the text of a session in a record, which no other text in it can equal; "" for any.

    The script compares text, because the JSON parser of Redis refuses names that are not UTF-8.
    """
    return f'"session": {json.dumps(session)}' if session else ""


def _rewind(text: str) -> int | None:
    return int(text) if text else None


def _keys(upload_id: str) -> list[str]:
    return [f"tus.upload.{of}:{upload_id}" for of in _KEY_KINDS]


_KEY_KINDS = ("offset", "lease", "record", "rewind", "wanted")


def _patiently(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what Redis answers
    """Call Redis, and again when it does not answer: every script may run twice."""
    try:
        return call()
    except AWAY:
        return _again(call)
    except redis.RedisError as error:
        raise Unavailable("Redis refuses the upload's record; try again shortly.") from error


def _again(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what Redis answers
    time.sleep(STORE_PAUSE_SECONDS)
    tries = retrying(
        first_pause_seconds=STORE_PAUSE_SECONDS,
        longest_pause_seconds=STORE_PAUSE_SECONDS,
        patience_seconds=STORE_PATIENCE_SECONDS,
    )
    try:
        return tries(call)
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer for the upload; try again shortly.") from error
