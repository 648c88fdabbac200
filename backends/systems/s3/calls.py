"""Calls of the API of S3: named, repeated while the storage is overloaded, with errors of ours."""

import io
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import tenacity

from backends.systems.s3.endpoint import S3Endpoint, connection
from backends.systems.s3.errors import (
    BucketNotFound,
    ObjectStorageFailed,
    ObjectStorageUnavailable,
    storage_errors,
)
from core.errors import VolumeUnavailable
from core.jobs import checked_pause

#: Pauses of a patient caller between rounds of tries: random, up to twice as much each time.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
#: What every answer to a method has. The page of a proxy, with status 200, is no empty listing.
_ALWAYS = {
    "list_objects_v2": "IsTruncated",
    "list_object_versions": "IsTruncated",
    "head_object": "ETag",
    "get_object": "ETag",
    "put_object": "ETag",
    "copy_object": "CopyObjectResult",
    "create_multipart_upload": "UploadId",
    "upload_part": "ETag",
    "upload_part_copy": "CopyPartResult",
}

T = TypeVar("T")
R = TypeVar("R")


class Calls:
    """Calls to one endpoint. boto3 repeats each one some times; a patient caller repeats that."""

    def __init__(
        self,
        endpoint: S3Endpoint,
        patience_seconds: float = 0.0,
        check: Callable[[], object] = bool,
        *,
        of_volume: bool = False,
    ) -> None:
        """Make the calls of an endpoint; it connects with its first one.

        `patience_seconds` is for how long a call is repeated after boto3 gave up: 0 at a door,
        minutes in a job. `check` is called in the pauses; what it raises ends the call. With
        `of_volume` a missing bucket is a volume that is away.
        """
        self._endpoint = endpoint
        self._of_volume = of_volume
        self._patience_seconds = patience_seconds
        self._check = check

    def __call__(self, method: str, /, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        """Return the answer of a method of boto3's client, such as `head_object`.

        Raises:
            As `storage_errors`.
        """
        return self.patiently(lambda: self.once(method, **arguments))

    def once(self, method: str, /, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        """Return the answer without further rounds.

        Raises:
            ObjectStorageFailed: the answer is not one of S3.
            VolumeUnavailable: the bucket of a volume is missing.
            As `storage_errors`.
        """
        own = connection(self._endpoint)
        if own.direct is not None and (quick := own.direct(method, arguments)) is not None:
            return quick
        client = own.s3
        body = arguments.get("Body")
        if isinstance(body, io.IOBase):
            body.seek(0)
        try:
            with storage_errors(client.meta.method_to_api_mapping[method]):
                answer: dict[str, Any] = getattr(client, method)(**arguments)
        except BucketNotFound:
            if self._of_volume:
                raise VolumeUnavailable("The bucket of the volume does not exist now.") from None
            raise
        if answer.get(_ALWAYS.get(method, "ResponseMetadata")) in (None, {}):
            raise ObjectStorageFailed(f"The answer to {method} is not one of S3; is it a proxy's?")
        return answer

    def presigned(self, method: str, seconds: int, **arguments: Any) -> str:  # noqa: ANN401 - as boto3
        """Return a URL that does the call without credentials until it expires; asks no storage.

        Raises:
            ObjectStorageFailed: there are no credentials.
        """
        client = connection(self._endpoint).s3
        with storage_errors("presign"):
            url: str = client.generate_presigned_url(method, arguments, ExpiresIn=seconds)
        return url

    def presigned_post(
        self, bucket: str, key: str, seconds: int, conditions: list[Any]
    ) -> tuple[str, dict[str, str]]:
        """Return the URL and the fields of a form that uploads one object.

        Raises:
            ObjectStorageFailed: there are no credentials.
        """
        client = connection(self._endpoint).s3
        with storage_errors("presign"):
            form = client.generate_presigned_post(
                bucket, key, Conditions=conditions, ExpiresIn=seconds
            )
        return form["url"], form["fields"]

    def patiently(self, call: Callable[[], T]) -> T:
        """Repeat a call while the storage is overloaded or away, as long as the patience lasts."""
        try:
            return call()
        except ObjectStorageUnavailable as error:
            if not self._patience_seconds:
                raise
            failed = [error]

        def again() -> T:
            if failed:  # the first try, whose pause comes now
                raise failed.pop()
            return call()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(ObjectStorageUnavailable),
            wait=tenacity.wait_random_exponential(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
            stop=tenacity.stop_before_delay(self._patience_seconds),
            sleep=partial(checked_pause, self._check),
            reraise=True,
        )
        return retrying(again)

    def beside(
        self, work: Callable[[T], R], items: Iterable[T], most: int
    ) -> Generator[R, None, None]:
        """Yield the results of `work` in the order of the items; at most `most` run at a time.

        `work` is one call to the storage, which calls nothing of this method. See `in_order`.
        """
        threads: ThreadPoolExecutor = connection(self._endpoint).threads
        yield from in_order(threads, work, items, most)

    def as_they_end(
        self, work: Callable[[T], R], items: Iterable[T], most: int
    ) -> Generator[R, None, None]:
        """Yield as `beside`, in the order in which they end: a slow one holds up no other."""
        threads: ThreadPoolExecutor = connection(self._endpoint).threads
        rest = iter(items)
        running: set[Future[R]] = set()
        try:
            while True:
                running |= {threads.submit(work, one) for one in islice(rest, most - len(running))}
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for one in ended:
                    yield one.result()
        finally:
            _end(running)

    def ahead(self, items: Iterator[T]) -> Iterator[T]:
        """Yield items, each of which is made by a thread while the caller has the one before."""
        threads: ThreadPoolExecutor = connection(self._endpoint).threads
        waiting: Future[T | None] = threads.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = threads.submit(next, items, None)
            yield item


def in_order(
    threads: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], most: int
) -> Generator[R, None, None]:
    """Yield the results of `work` in the order of the items; at most `most` run at a time.

    The first failure of `work` ends it, after what runs already has ended. A caller that may stop
    earlier closes it first: what still runs uses the descriptors that the caller closes next.
    """
    rest = iter(items)
    running: list[Future[R]] = []
    try:
        while True:
            running += [threads.submit(work, one) for one in islice(rest, most - len(running))]
            if not running:
                return
            yield running.pop(0).result()
    finally:
        _end(running)


def _end(running: Collection[Future[R]]) -> None:
    """Cancel what has not begun, and wait for the rest."""
    for one in running:
        one.cancel()
    for one in running:
        if not one.cancelled():
            one.exception()
