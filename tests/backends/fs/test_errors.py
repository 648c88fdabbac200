"""The errno table: one answer per number, wherever the number is met."""

import errno
import os

import pytest

from backends.fs import entry_errors, translate
from backends.tree.copy.target import job_failure
from core.errors import EntryRefused, StorageError
from workers.runner import problem_of

HOST_PATH = "/srv/volumes/secret"
#: Number, status, retriable, error code.
ANSWERS = [
    (errno.ENOENT, 404, False, "vfolder_read_not-found"),
    (errno.EEXIST, 409, False, "vfolder_create_already-exists"),
    (errno.EISDIR, 409, False, "vfolder_create_already-exists"),
    (errno.ENOTEMPTY, 409, False, "vfolder_create_already-exists"),
    (errno.ENOTDIR, 400, False, "vfolder_access_bad-request"),
    (errno.ENXIO, 400, False, "vfolder_access_bad-request"),
    (errno.EINVAL, 400, False, "vfolder_access_bad-request"),
    (errno.EMLINK, 400, False, "vfolder_access_bad-request"),
    (errno.EFBIG, 400, False, "vfolder_access_bad-request"),
    (errno.ENAMETOOLONG, 400, False, "vfolder_access_invalid-parameters"),
    (errno.EILSEQ, 400, False, "vfolder_access_invalid-parameters"),
    (errno.ELOOP, 400, False, "vfolder_access_invalid-parameters"),
    (errno.EXDEV, 400, False, "vfolder_access_invalid-parameters"),
    (errno.EACCES, 403, False, "vfolder_access_unauthorized"),
    (errno.EPERM, 403, False, "vfolder_access_unauthorized"),
    (errno.EROFS, 409, False, "vfolder_update_conflict"),
    (errno.EBUSY, 409, True, "vfolder_access_conflict"),
    (errno.ETXTBSY, 409, True, "vfolder_access_conflict"),
    (errno.ENOSPC, 507, False, "storage_create_unavailable"),
    (errno.EDQUOT, 422, False, "quota-scope_update_conflict"),
    (errno.ETIMEDOUT, 504, True, "storage_access_unreachable"),
    (errno.EIO, 503, True, "storage-proxy_request_unreachable"),
    (errno.ESTALE, 503, True, "storage-proxy_request_unreachable"),
    (errno.ENOTCONN, 503, True, "storage-proxy_request_unreachable"),
    (errno.EMFILE, 503, True, "storage-proxy_request_unavailable"),
    (errno.ENFILE, 503, True, "storage-proxy_request_unavailable"),
    (errno.ENOMEM, 503, True, "storage-proxy_request_unavailable"),
    (errno.EAGAIN, 503, True, "storage-proxy_request_unavailable"),
    (errno.EOPNOTSUPP, 500, False, "storage-proxy_request_unreachable"),
    (None, 500, False, "storage-proxy_request_unreachable"),
]


def raised(number: int | None) -> OSError:
    return OSError(number, "x", HOST_PATH) if number else OSError(HOST_PATH)


@pytest.mark.parametrize(("number", "status", "retriable", "code"), ANSWERS, ids=str)
def test_a_number_has_one_answer(
    *, number: int | None, status: int, retriable: bool, code: str
) -> None:
    error = translate(raised(number), "a/b")
    assert (error.status, error.retriable, error.error_code) == (status, retriable, code)
    assert error.facts == {"errno": number, "paths": ["a/b"]}
    assert HOST_PATH not in error.detail
    ended = problem_of(raised(number))
    assert (ended["error_code"], ended["retriable"], ended["errno"]) == (code, retriable, number)
    assert HOST_PATH not in str(ended)


@pytest.mark.parametrize(("number", "status", "retriable", "code"), ANSWERS, ids=str)
def test_routes_that_name_entries_answer_a_wrong_path_with_400(
    *, number: int | None, status: int, retriable: bool, code: str
) -> None:
    with pytest.raises(StorageError) as caught, entry_errors("a", "b"):
        raise raised(number)
    error = caught.value
    wrong_path = status in (400, 404) or code.endswith("already-exists")
    expected = 400 if wrong_path else status
    assert (error.status, error.retriable) == (expected, retriable)
    assert error.facts == {"errno": number, "paths": ["a", "b"]}
    escapes = number in (errno.ELOOP, errno.EXDEV)
    assert isinstance(error, EntryRefused) == (wrong_path and not escapes)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_target_that_takes_nothing_ends_a_job_by_the_same_answer(number: int) -> None:
    ended = job_failure(OSError(number, os.strerror(number)))
    assert type(ended) is type(translate(OSError(number, "")))
