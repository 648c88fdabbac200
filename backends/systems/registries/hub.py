"""The routes of a hub: search, branches, one revision, the files of a commit, one file.

Every call goes to the configured endpoint, with the token, or to a mirror while that fails. Source:
the public documentation of the Hub API, and the client library `huggingface_hub`, which the tests
drive against the same stand-in.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from backends.systems.registries.mirrors import MirroredSession
from backends.systems.registries.session import RemoteFile, RemoteSession, as_size, as_text
from core.errors import InvalidName, ModelNotFound, RegistryRefused, StorageError
from core.names import check_model_id, check_revision, parsed_moment, reference_moment
from core.settings import HuggingFaceTable
from core.telemetry import logger

#: The branch that is taken when a caller names none.
DEFAULT_REVISION = "main"
#: Calls that run beside each other.
BESIDE = 8
#: Most models of one page of a search.
PAGE_MODELS = 1000
#: The longest readme that is read; a longer one is cut (bytes).
README_MAX_BYTES = 1024 * 1024
#: The names of the orders, as the hub knows them.
ORDERS = {
    "last_modified": "lastModified",
    "trending_score": "trendingScore",
    "created_at": "createdAt",
    "downloads": "downloads",
    "likes": "likes",
}
#: What a search returns of each model.
_EXPANDED = ("author", "createdAt", "gated", "lastModified", "sha", "tags")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_log = logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HubModel:
    """One revision of a model, as the hub describes it."""

    id: str
    revision: str
    author: str | None = None
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    modified_at: datetime | None = None
    gated: bool | str | None = None
    #: The commit; None when the hub does not say it.
    commit: str | None = None

    def document(self, readme: str | None = None, size: int | None = None) -> dict[str, Any]:
        """Return the model as the routes answer it."""
        return {
            "id": self.id,
            "name": self.id.rpartition("/")[2],
            "author": self.author,
            "revision": self.revision,
            "tags": list(self.tags),
            "created_at": _moment(self.created_at),
            "modified_at": _moment(self.modified_at),
            "readme": readme,
            "size": size,
            "sha": None,
            "extra": None if self.gated is None else {"gated": self.gated},
        }


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a commit; one of the digests is known."""

    path: str
    size: int
    #: SHA-256 of the content, for files that git keeps elsewhere (LFS).
    sha256: str | None
    #: The id of the git blob, for all other files.
    blob: str | None


class Hub:
    """A hub as one process sees it; its connections are shared by threads.

    Every method raises `RegistryUnavailable` (no answer, 429, 5xx), `RegistryRefused` (401, 403,
    an answer that is none) and `ModelNotFound` (404).
    """

    def __init__(self, table: HuggingFaceTable) -> None:
        """Take the table. The token is the endpoint's own, so no mirror gets it."""
        most = table.connections
        self._session = MirroredSession(
            RemoteSession(table.endpoint.rstrip("/"), token=table.token, connections=most),
            [RemoteSession(url.rstrip("/"), connections=most) for url in table.mirrors],
        )

    # -- Models ------------------------------------------------------------------------------------
    def search(self, text: str | None, order: str, limit: int, *, seconds: float) -> list[HubModel]:
        """Return at most `limit` models that match, best first; revision `main` of each.

        A model whose id no route takes is left out.
        """
        found: list[HubModel] = []
        query: list[tuple[str, str]] = [
            ("sort", ORDERS[order]),
            ("direction", "-1"),
            ("limit", str(min(limit, PAGE_MODELS))),
            *(("expand", name) for name in _EXPANDED),
        ]
        if text:
            query.append(("search", text))
        for page in self._session.pages("/api/models", query, seconds=seconds):
            models = [_model(one, DEFAULT_REVISION) for one in _listed(page)]
            found += [one for one in models if _is_valid(check_model_id, one.id)]
            if len(found) >= limit:
                break
        return found[:limit]

    def revisions(self, model_id: str) -> list[str]:
        """Return the branches and the tags of a model, those that can be directories."""
        refs = self._session.json(f"/api/models/{_path(model_id)}/refs")
        with _answers():
            names = [as_text(one["name"]) for kind in ("branches", "tags") for one in refs[kind]]
        return [name for name in names if _is_valid(check_revision, name)]

    def scan(self, text: str | None, order: str, limit: int, *, seconds: float) -> list[HubModel]:
        """Return an entry for each branch and tag of each model that matches.

        A model whose branches are not known, or not in time, has the entry `main` alone.
        """
        until = time.monotonic() + seconds
        models = self.search(text, order, limit, seconds=seconds)
        left = max(0.0, until - time.monotonic())
        found = self.beside(self._revisions_of, models, seconds=left)
        return [
            replace(model, revision=name)
            for model, names in zip(models, found, strict=True)
            for name in (names if names is not None else [DEFAULT_REVISION])
        ]

    def _revisions_of(self, model: HubModel) -> list[str] | None:
        try:
            return self.revisions(model.id)
        except StorageError as error:
            _log.info("branches not listed", model=model.id, reason=error.detail)
            return None

    def beside(self, call: Callable[[T], Any], items: Iterable[T], *, seconds: float) -> list[Any]:
        """Return what a call returns for each item, several at a time; None for those not in time.

        Raises:
            StorageError: the first error of a call.
        """
        pool = ThreadPoolExecutor(BESIDE, thread_name_prefix="hub")
        try:
            futures: list[Future[Any]] = [pool.submit(call, item) for item in items]
            done, late = wait(futures, timeout=seconds)
            if late:
                _log.warning("hub is slow", late=len(late), done=len(done))
            return [one.result() if one in done else None for one in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def model(self, model_id: str, revision: str) -> HubModel:
        """Return a revision of a model."""
        path = f"/api/models/{_path(model_id)}/revision/{quote(revision, safe='')}"
        return _model(self._session.json(path), revision, model_id)

    def commit(self, model_id: str, revision: str) -> str | None:
        """Return the commit of a revision; None when the hub does not say it."""
        return self.model(model_id, revision).commit

    # -- Files -------------------------------------------------------------------------------------
    def files(self, model_id: str, revision: str) -> list[HubFile]:
        """Return every file of a revision."""
        path = f"/api/models/{_path(model_id)}/tree/{quote(revision, safe='')}"
        query = [("recursive", "True"), ("expand", "False")]
        return [
            _file(one)
            for page in self._session.pages(path, query)
            for one in _listed(page)
            if one.get("type") == "file"
        ]

    def size(self, model_id: str, revision: str) -> int:
        """Return the sum of the sizes of all files (bytes)."""
        return sum(one.size for one in self.files(model_id, revision))

    def readme(self, model_id: str, revision: str) -> str | None:
        """Return the readme of a revision; None when it has none."""
        path = self._resolve(model_id, revision, "README.md")
        try:
            content = self._session.content(path, README_MAX_BYTES)
        except ModelNotFound:
            return None
        return content.decode("utf-8", "replace")

    def open(self, model_id: str, revision: str, path: str, start: int = 0) -> RemoteFile:
        """Open a file of a revision at a position; the caller closes it."""
        return self._session.open(self._resolve(model_id, revision, path), start)

    @staticmethod
    def _resolve(model_id: str, revision: str, path: str) -> str:
        return f"/{_path(model_id)}/resolve/{quote(revision, safe='')}/{quote(path)}"


def _path(model_id: str) -> str:
    return quote(check_model_id(model_id))


class _answers:  # noqa: N801 - used as a block, like a function
    """Raise `RegistryRefused` where an answer of the hub lacks what it should have."""

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        """Replace the error of the block."""
        if isinstance(error, KeyError | TypeError | ValueError | AttributeError):
            raise RegistryRefused("The registry answers what cannot be used.") from error


def _listed(page: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any JSON value
    if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
        raise RegistryRefused("The registry answers no list.")
    yield from page


def _model(facts: Any, revision: str, model_id: str = "") -> HubModel:  # noqa: ANN401 - any JSON value
    with _answers():
        commit = facts.get("sha")
        return HubModel(
            id=model_id or as_text(facts["id"]),
            revision=revision,
            author=None if facts.get("author") is None else as_text(facts["author"]),
            tags=tuple(map(str, facts.get("tags") or ())),
            created_at=_parsed(facts.get("createdAt")),
            modified_at=_parsed(facts.get("lastModified")),
            gated=facts.get("gated"),
            commit=commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None,
        )


def _file(facts: dict[str, Any]) -> HubFile:
    with _answers():
        large = facts.get("lfs") or {}
        sha256 = large.get("oid") or large.get("sha256")
        return HubFile(
            path=as_text(facts["path"]),
            size=as_size(large.get("size", facts.get("size"))),
            sha256=_digest(_SHA256, sha256),
            blob=None if sha256 else _digest(_COMMIT, facts.get("oid")),
        )


def _digest(form: re.Pattern[str], value: object) -> str | None:
    if value is not None and not form.fullmatch(as_text(value)):
        raise ValueError("no digest")
    return value if isinstance(value, str) else None


def _is_valid(check: Callable[[str], object], name: str) -> bool:
    try:
        check(name)
    except InvalidName:
        return False
    return True


def _parsed(text: str | None) -> datetime | None:
    return None if text is None else parsed_moment(text)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else reference_moment(moment.timestamp()).replace("+00:00", "Z")
