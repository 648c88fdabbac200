"""A stand-in of a model hub: the protocol of `huggingface_hub`, with large files on another host.

It is strict: an unknown route, query or sort is an error. Faults are set by the tests.
"""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

#: Files from this size on are kept elsewhere (LFS) (bytes).
LARGE_BYTES = 1000
SORTS = {"lastModified", "trendingScore", "createdAt", "downloads", "likes"}
PAGE_FILES = 3


def blob_id(content: bytes) -> str:
    """The id that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class HubRepo:
    """A model: commits by id, and names of branches and tags."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gated: bool | str = False
    private: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit to a branch and return its id."""
        text = json.dumps({name: blob_id(data) for name, data in files.items()})
        commit = hashlib.sha1(
            f"{len(self.commits)}{text}".encode(), usedforsecurity=False
        ).hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit

    @property
    def files(self) -> dict[str, bytes]:
        """The files of `main`."""
        return self.commits[self.branches["main"]]

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch, a tag or a commit."""
        if revision in self.commits:
            return revision
        return self.branches.get(revision) or self.tags.get(revision)


class StandInHub:
    """The hub and the host of its large files."""

    def __init__(self) -> None:
        self.repos: dict[str, HubRepo] = {}
        self.token = "hub-token-of-the-tests"
        #: What came: host (`hub` or `files`), method, path, whether with the token.
        self.requests: list[tuple[str, str, str, bool]] = []
        #: Bytes of each file that were sent, by path.
        self.sent: Counter[str] = Counter()
        #: The next so many requests of a path that matches are answered with a status.
        self.failing: list[tuple[re.Pattern[str], int, int]] = []
        #: Downloads of a path that matches end after so many bytes, so many times.
        self.breaking: list[list[Any]] = []
        #: Seconds before each piece of a large file.
        self.slow_seconds = 0.0
        self.ignores_ranges = False
        #: Another host that the links to next pages name, as mirrors do.
        self.next_host = ""
        #: What is sent in place of a file's content, by its path; the listing stays true.
        self.lies: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._hub = _server(self, _HubHandler)
        self._files = _server(self, _FilesHandler)

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def files_url(self) -> str:
        """The host of the large files: another name."""
        return f"http://localhost:{self._files.server_port}"

    def add(self, model: str, files: dict[str, bytes], **facts: Any) -> HubRepo:
        """Add a model with one commit on `main`."""
        repo = self.repos[model] = HubRepo(**facts)
        repo.commit(files)
        return repo

    def fail(self, pattern: str, status: int, times: int = 1) -> None:
        """Answer the next requests of a path with a status."""
        self.failing.append((re.compile(pattern), status, times))

    def break_off(self, pattern: str, after: int, times: int = 1) -> None:
        """End the next downloads of a path after so many bytes."""
        self.breaking.append([re.compile(pattern), after, times])

    def failure(self, path: str) -> int | None:
        """The status that a test wants for a path now."""
        with self._lock:
            for index, (pattern, status, times) in enumerate(self.failing):
                if pattern.search(path) and times > 0:
                    self.failing[index] = (pattern, status, times - 1)
                    return status
        return None

    def limit(self, path: str) -> int | None:
        """After how many bytes the download of a path breaks now."""
        with self._lock:
            for fault in self.breaking:
                if fault[0].search(path) and fault[2] > 0:
                    fault[2] -= 1
                    return int(fault[1])
        return None

    def with_token(self, host: str) -> list[bool]:
        """For each request of a host, whether it had the token."""
        return [token for name, _, _, token in self.requests if name == host]

    def close(self) -> None:
        """Stop both servers."""
        for server in (self._hub, self._files):
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: StandInHub


def _server(hub: StandInHub, handler: type[BaseHTTPRequestHandler]) -> _Server:
    server = _Server(("127.0.0.1", 0), handler)
    server.hub = hub
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: _Server
    host = ""

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    @property
    def hub(self) -> StandInHub:
        return self.server.hub

    def begin(self) -> str:
        """Note the request, and return its path."""
        path = unquote(urlsplit(self.path).path)
        bearer = self.headers.get("Authorization")
        assert bearer in (None, f"Bearer {self.hub.token}"), bearer
        self.hub.requests.append((self.host, self.command, path, bearer is not None))
        return path

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any, **headers: str) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def content(self, path: str, data: bytes, etag: str, **headers: str) -> None:
        """Send a file or a range of it; a fault may end it early."""
        data = self.hub.lies.get(path, data)
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and not self.hub.ignores_ranges:
            start = int(asked[1])
        if start > len(data):
            self.answer(416)
            return
        self.send_response(206 if asked and not self.hub.ignores_ranges else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.hub.limit(path)
        rest = data[start:] if limit is None else data[start : start + limit]
        for at in range(0, len(rest), 65_536):
            time.sleep(self.hub.slow_seconds)
            piece = rest[at : at + 65_536]
            self.wfile.write(piece)
            self.hub.sent[path] += len(piece)
        if len(rest) < len(data) - start:
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()


class _HubHandler(_Handler):
    host = "hub"

    def do_GET(self) -> None:
        path = self.begin()
        status = self.hub.failure(path)
        if status is not None:
            self.answer(status)
        elif path == "/api/models":
            self._search()
        elif found := re.fullmatch(r"/api/models/(.+?)/(refs|revision|tree)(?:/(.+))?", path):
            self._model(*found.groups())
        elif found := re.fullmatch(r"/(.+?)/resolve/(.+)", path):
            self._resolve(*found.groups())
        elif found := re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)", path):
            self._model(found[1], "revision", "main")
        else:
            self.answer(404)

    def _search(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query["sort"][0] in SORTS, query
        limit, start = int(query["limit"][0]), int(query.get("cursor", ["0"])[0])
        text = query.get("search", [""])[0]
        names = [name for name, repo in self.hub.repos.items() if text in name and not repo.private]
        page = names[start : start + min(limit, PAGE_FILES)]
        following = start + len(page)
        headers = {}
        if following < len(names):
            asked = urlsplit(self.path).query + f"&cursor={following}"
            headers["Link"] = (
                f'<{self.hub.next_host or self.hub.url}/api/models?{asked}>; rel="next"'
            )
        facts = [self._facts(name, "main") for name in page]
        expanded = {"id", *query.get("expand", facts[0] if facts else [])}
        self.json([{k: v for k, v in one.items() if k in expanded} for one in facts], **headers)

    def _facts(self, name: str, revision: str) -> dict[str, Any]:
        repo = self.hub.repos[name]
        return {
            "_id": "x",
            "id": name,
            "modelId": name,
            "author": name.partition("/")[0],
            "sha": repo.resolve(revision),
            "tags": ["license:mit", "en"],
            "createdAt": "2024-01-02T03:04:05.000Z",
            "lastModified": "2024-02-03T04:05:06.789Z",
            "gated": repo.gated,
            "private": repo.private,
            "downloads": 3,
            "likes": 2,
            "siblings": [],
        }

    def _repo(self, name: str) -> HubRepo | None:
        repo = self.hub.repos.get(name)
        with_token = self.hub.requests[-1][3]
        if repo is None or (repo.private and not with_token):
            self.answer(404 if with_token else 401, X_Error_Code="RepoNotFound")
            return None
        return repo

    def _model(self, name: str, what: str, revision: str | None) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        if what == "refs":
            self.json(_refs(repo))
            return
        commit = repo.resolve(str(revision))
        if commit is None:
            self.answer(404, X_Error_Code="RevisionNotFound")
        elif what == "revision":
            self.json(self._facts(name, str(revision)))
        else:
            self._tree(repo.commits[commit])

    def _tree(self, files: dict[str, bytes]) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query["recursive"][0].lower() == "true", query
        folders = sorted({name.rpartition("/")[0] for name in files} - {""})
        plain = {"type": "directory", "oid": "0" * 40, "size": 0}
        entries: list[dict[str, Any]] = [{**plain, "path": one} for one in folders]
        entries += [_entry(name, data) for name, data in files.items()]
        start = int(query.get("cursor", ["0"])[0])
        following = start + PAGE_FILES
        headers = {}
        if following < len(entries):
            path = urlsplit(self.path).path
            link = f"{self.hub.url}{path}?recursive=True&expand=False&cursor={following}"
            headers["Link"] = f'<{link}>; rel="next"'
        self.json(entries[start:following], **headers)

    def _resolve(self, name: str, rest: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        if repo.gated and not self.hub.requests[-1][3]:
            self.answer(403, X_Error_Code="GatedRepo")
            return
        names = sorted({*repo.branches, *repo.tags, *repo.commits}, key=len, reverse=True)
        revision = next((one for one in names if rest.startswith(f"{one}/")), None)
        if revision is None:
            self.answer(404, X_Error_Code="RevisionNotFound")
            return
        commit, path = str(repo.resolve(revision)), rest[len(revision) + 1 :]
        data = repo.commits[commit].get(path)
        if data is None:
            self.answer(404, X_Error_Code="EntryNotFound")
        elif len(data) >= LARGE_BYTES:
            where = f"{self.hub.files_url}/{quote(name)}/{commit}/{quote(path)}?signature=x"
            self.answer(
                302,
                Location=where,
                X_Repo_Commit=commit,
                X_Linked_Size=str(len(data)),
                X_Linked_ETag=f'"{hashlib.sha256(data).hexdigest()}"',
            )
        else:
            self.content(path, data, blob_id(data), X_Repo_Commit=commit)


class _FilesHandler(_Handler):
    host = "files"

    def do_GET(self) -> None:
        path = self.begin()
        assert "signature" in parse_qs(urlsplit(self.path).query)
        status = self.hub.failure(path)
        if status is not None:
            self.answer(status)
            return
        found = re.fullmatch(r"/(.+?)/([0-9a-f]{40})/(.+)", path)
        assert found, path
        data = self.hub.repos[found[1]].commits[found[2]][found[3]]
        self.content(found[3], data, hashlib.md5(data, usedforsecurity=False).hexdigest())


def _refs(repo: HubRepo) -> dict[str, Any]:
    def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
            for name, commit in names.items()
        ]

    return {
        "branches": listed("heads", repo.branches),
        "converts": [],
        "tags": listed("tags", repo.tags),
    }


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data)}
    if len(data) < LARGE_BYTES:
        return entry | {"oid": blob_id(data)}
    digest = hashlib.sha256(data).hexdigest()
    large = {"oid": digest, "size": len(data), "pointerSize": 134}
    return entry | {"oid": blob_id(b"pointer"), "lfs": large}


@contextmanager
def running_hub() -> Iterator[StandInHub]:
    """A hub until the end of the block."""
    hub = StandInHub()
    try:
        yield hub
    finally:
        hub.close()
