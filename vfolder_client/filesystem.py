"""`vfolder://` for fsspec, so that pandas, dask, xarray and others read and write vfolders.

    import pandas
    pandas.read_parquet("vfolder://corpus/data/part-0.parquet")

A path begins with the name or the reference of a vfolder. Address and key come from the context
(see `vfolder_client.contexts`), unless the storage options `url` and `key`, or `context`, say so.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from fsspec.utils import isfilelike

from vfolder_client.client import Client
from vfolder_client.content import RemoteReader, RemoteWriter
from vfolder_client.documents import Entry
from vfolder_client.errors import (
    Absent,
    BadRequest,
    EntryExists,
    NotAuthenticated,
    NotPermitted,
    PreconditionFailed,
    Problem,
    VFolderNotFound,
    problem_of,
)
from vfolder_client.folders import VFolder

_TYPES = {"file": "file", "directory": "directory", "symlink": "link"}
_MAGIC = frozenset("*?[")


class VFolderFileSystem(AbstractFileSystem):
    """The vfolders that a caller may see, as one file system: `vfolder://NAME/path`.

    Listings are not cached: others write, too. Removals are jobs, which this waits for. Files are
    written as one: they appear when they are closed, and, opened for bytes, not after an exception
    in a `with`.
    """

    protocol = "vfolder"
    root_marker = ""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        context: str | None = None,
        ca: str | None = None,
        **options: Any,  # noqa: ANN401 - of fsspec
    ) -> None:
        """Use a context, or `url` with `key`.

        Raises:
            ValueError: one of `url` and `key` is missing.
            ContextError: there is no context.
        """
        super().__init__(**options)
        if (url is None) != (key is None):
            raise ValueError("Give url and key together, or a context.")
        if url is not None and key is not None:
            self.client = Client(url, key, ca=ca)
        else:
            self.client = Client.from_context(context)
        self._folders: dict[str, VFolder] = {}

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:  # noqa: ANN401 - a path or a list of them
        """Return a path without `vfolder://` and without slashes at its ends."""
        stripped = super()._strip_protocol(path)
        return (
            [one.lstrip("/") for one in stripped]
            if isinstance(stripped, list)
            else stripped.lstrip("/")
        )

    def _placed(self, path: str) -> tuple[VFolder, str]:
        """Return the vfolder and the path in it.

        Raises:
            FileNotFoundError: the path names no vfolder, or one that the caller does not see.
        """
        name, _, rest = self._strip_protocol(path).partition("/")
        if not name:
            raise FileNotFoundError(errno.ENOENT, "The root has vfolders only", path)
        if name not in self._folders:
            with _translated(path):
                self._folders[name] = self.client.vfolder(name)
        return self._folders[name], rest

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget which vfolders have which names."""
        if path is None:
            self._folders.clear()
        super().invalidate_cache(path)

    # -- Look --------------------------------------------------------------------------------------
    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: ANN401, FBT001, FBT002 - as fsspec calls it
        """List a directory; a file lists itself, and the root the vfolders."""
        wanted = self._strip_protocol(path)
        found = self._entries(wanted) if wanted else self._vfolders()
        return found if detail else [one["name"] for one in found]

    def _vfolders(self) -> list[dict[str, Any]]:
        with _translated(""):
            infos = [one.info() for one in self.client.vfolders()]
        names = [info.name for info in infos]
        return [
            _directory(info.name if info.name and names.count(info.name) == 1 else info.reference)
            for info in infos
        ]

    def _entries(self, path: str) -> list[dict[str, Any]]:
        folder, below = self._placed(path)
        name = path.partition("/")[0]
        with _translated(path):
            try:
                found = list(folder.list(below))
            except (Absent, BadRequest):  # a file, or nothing
                entry = folder.stat(below)
                if entry.is_directory:
                    raise
                found = [entry]
        return [_info(name, entry) for entry in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:  # noqa: ANN401 - as fsspec calls it
        """Look at one entry. A file has the `ETag` of its content."""
        wanted = self._strip_protocol(path)
        if not wanted:
            return _directory("")
        folder, below = self._placed(wanted)
        with _translated(path):
            if not below:
                folder.info()
                return _directory(wanted)
            return _info(wanted.partition("/")[0], folder.stat(below))

    def modified(self, path: str) -> datetime:
        """Return when the content of an entry changed."""
        found: datetime | None = self.info(path).get("mtime")
        if found is None:
            raise NotImplementedError("The time of this entry is not known.")
        return found

    def ukey(self, path: str) -> str:
        """Return what changes with the content of a file."""
        info = self.info(path)
        return str(info.get("ETag") or f"{info['name']} {info['size']} {info.get('mtime')}")

    # -- Directories -------------------------------------------------------------------------------
    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:  # noqa: ANN401, FBT001, FBT002 - as fsspec calls it
        """Make a directory.

        Raises:
            FileExistsError: something has the name.
            FileNotFoundError: there is no such vfolder; `Client.create_vfolder` makes one.
        """
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, "The entry exists", path)
        self._make(path, parents=create_parents)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - as fsspec calls it
        """Make a directory and those above it."""
        if not exist_ok and self.exists(path):
            raise FileExistsError(errno.EEXIST, "The entry exists", path)
        self._make(path, parents=True)

    def _make(self, path: str, *, parents: bool) -> None:
        folder, below = self._placed(path)
        with _translated(path):
            if not below:
                folder.info()
                return
            (result,) = folder.mkdir(below, parents=parents)
            if result.problem is not None:
                raise problem_of(int(result.problem.get("status", 400)), result.problem)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        if self.ls(path, detail=False):
            raise OSError(errno.ENOTEMPTY, "The directory is not empty", path)
        self._removed([path], recursive=True)

    def rm_file(self, path: str) -> None:
        """Remove one entry; a directory must be empty."""
        if self.isdir(path):
            self.rmdir(path)
        else:
            self._removed([path], recursive=False)

    _rm = rm_file

    def rm(
        self,
        path: str | list[str],
        recursive: bool = False,  # noqa: FBT001, FBT002 - as fsspec calls it
        maxdepth: int | None = None,
    ) -> None:
        """Remove entries, by one job for each vfolder."""
        if maxdepth is not None:
            super().rm(path, recursive=recursive, maxdepth=maxdepth)
            return
        self._removed(self.expand_path(path), recursive=recursive)

    def _removed(self, paths: list[str], *, recursive: bool) -> None:
        """Remove entries that exist.

        Raises:
            FileNotFoundError: one does not.
            ValueError: one is a vfolder; `VFolder.delete` moves it to the trash.
        """
        wanted: dict[str, tuple[VFolder, list[str]]] = {}
        for path in paths:
            folder, below = self._placed(path)
            if not below:
                raise ValueError(
                    f"{path} is a vfolder; name its entries, or delete it by a client."
                )
            with _translated(path):
                entry = folder.stat(below)
            if entry.is_directory and not recursive:
                raise IsADirectoryError(errno.EISDIR, "This is a directory", path)
            wanted.setdefault(folder.reference, (folder, []))[1].append(below)
        for folder, below_paths in wanted.values():
            with _translated(paths[0]):
                folder.remove(*below_paths, recursive=recursive, held_seconds=10).wait()

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:  # noqa: ANN401 - as fsspec calls it
        """Copy a file, or make the directory that `path1` is; the bytes pass through here."""
        folder, below = self._placed(path1)
        with _translated(path1):
            if not below or folder.stat(below).is_directory:
                self.makedirs(path2, exist_ok=True)
                return
            to, target = self._placed(path2)
            folder.copy(below, target, to=to)

    def mv(
        self,
        path1: str,
        path2: str,
        recursive: bool = False,  # noqa: FBT001, FBT002 - as fsspec calls it
        maxdepth: int | None = None,
        **options: Any,  # noqa: ANN401 - as fsspec calls it
    ) -> None:
        """Rename within a vfolder; between two, copy and remove."""
        (source, below), (folder, target) = self._placed(path1), self._placed(path2)
        if maxdepth is not None or _MAGIC & {*path1} or not source.is_same(folder):
            super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **options)
            return
        if path2.endswith("/") or self.isdir(path2):
            target = "/".join(one for one in (target, below.rpartition("/")[2]) if one)
        with _translated(path1):
            is_file = source.stat(below).is_file
            source.move(below, target, overwrite=is_file and self._is_file(folder, target))

    def _is_file(self, folder: VFolder, path: str) -> bool:
        try:
            return folder.stat(path).is_file
        except Absent:
            return False

    # -- Content -----------------------------------------------------------------------------------
    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,  # noqa: FBT001, FBT002 - as fsspec calls it
        cache_options: dict[str, Any] | None = None,
        **options: Any,  # noqa: ANN401 - as fsspec calls it
    ) -> "VFolderFile":
        """Return a file object of bytes: `rb`, `wb` or `xb`.

        Raises:
            FileExistsError: something has the name, with `xb`.
            NotImplementedError: the mode appends.
        """
        if mode == "xb" and self.exists(path):
            raise FileExistsError(errno.EEXIST, "The entry exists", path)
        info: dict[str, Any] = {}
        if mode == "rb":
            info = self.info(path)
            if info["type"] == "directory":
                raise IsADirectoryError(errno.EISDIR, "This is a directory", path)
            if info["type"] == "link":  # its size is that of what it leads to
                with _translated(path):
                    info["size"] = self.reader(path).size
            options["size"] = info["size"]
        file = VFolderFile(
            self,
            path,
            mode,
            block_size or "default",
            autocommit=autocommit,
            cache_options=cache_options,
            **options,
        )
        if info:
            file.details = info
        return file

    def reader(self, path: str, etag: str | None = None) -> RemoteReader:
        """Return the raw reader of a file."""
        folder, below = self._placed(path)
        return RemoteReader(folder.connection, folder.content_url(below), etag)

    def writer(self, path: str, *, overwrite: bool) -> RemoteWriter:
        """Return the raw writer of a file."""
        folder, below = self._placed(path)
        return RemoteWriter(folder.connection, folder.route, below, overwrite=overwrite)

    def cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        **_: Any,  # noqa: ANN401 - as fsspec calls it
    ) -> bytes:
        """Return the content of a file, or a part of it; negative numbers count from its end."""
        with _translated(path), self.reader(path) as reader:
            if start is None and end is None:
                return reader.readall()
            first, last = start or 0, end
            if first < 0:
                first = max(0, first + reader.size)
            if last is None or last < 0:
                last = reader.size + (last or 0)
            return reader.range(first, last)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:  # noqa: ANN401 - as fsspec calls it
        """Make a file with this content; with the mode `create` nothing is replaced."""
        with _translated(path), self.writer(path, overwrite=mode != "create") as writer:
            writer.write(value)

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,  # noqa: ANN401 - a path or a file object
        callback: Any = DEFAULT_CALLBACK,  # noqa: ANN401 - of fsspec
        outfile: Any = None,  # noqa: ANN401 - a file object
        **options: Any,  # noqa: ANN401 - as fsspec calls it
    ) -> None:
        """Download a file: ranges side by side, of one version."""
        if outfile is not None or isfilelike(lpath):
            super().get_file(rpath, lpath, callback=callback, outfile=outfile, **options)
            return
        folder, below = self._placed(rpath)
        with _translated(rpath):
            if folder.stat(below).is_directory:
                os.makedirs(lpath, exist_ok=True)
                return
            folder.download(below, lpath, resume=False, on_progress=_Callback(callback))

    def put_file(
        self,
        lpath: str,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,  # noqa: ANN401 - of fsspec
        mode: str = "overwrite",
        **_: Any,  # noqa: ANN401 - as fsspec calls it
    ) -> None:
        """Upload a file; directories above it are made."""
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        folder, below = self._placed(rpath)
        with _translated(rpath):
            overwrite = mode != "create"
            folder.upload(
                lpath, below, resume=False, overwrite=overwrite, on_progress=_Callback(callback)
            )


class VFolderFile(AbstractBufferedFile):
    """An open file: read by ranges of one version, or written as one."""

    def __init__(
        self,
        fs: VFolderFileSystem,
        path: str,
        mode: str,
        *given: Any,  # noqa: ANN401 - as fsspec has it
        **options: Any,  # noqa: ANN401 - as fsspec has it
    ) -> None:
        self._reader: RemoteReader | None = None
        self._writer: RemoteWriter | None = None
        super().__init__(fs, path, mode, *given, **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to before `end`."""
        if self._reader is None:
            self._reader = self.fs.reader(self.path, self.details.get("ETag"))
        with _translated(self.path):
            return self._reader.range(start, end)

    def _initiate_upload(self) -> None:
        self._writer = self.fs.writer(self.path, overwrite=self.mode != "xb")

    def _upload_chunk(self, final: bool = False) -> bool:  # noqa: FBT001, FBT002 - as fsspec calls it
        """Pass on what is in the buffer; the last of it makes the file appear."""
        if self._writer is not None:
            with _translated(self.path):
                self._writer.write(self.buffer.getbuffer())
                if final and self.autocommit:
                    self._writer.close()
        return True

    def commit(self) -> None:
        """Let the file appear, at the end of a transaction."""
        if self._writer is not None:
            with _translated(self.path):
                self._writer.close()

    def discard(self) -> None:
        """Let no file appear."""
        if self._writer is not None:
            self._writer.discard()

    def __exit__(self, *args: object) -> None:
        if args[0] is not None and self.mode != "rb":
            self.discard()
            self.closed = True
        self.close()

    def __del__(self) -> None:
        # One that is forgotten is not complete: no file appears.
        self.closed = True


class _Callback:
    """Passes the progress of a transfer to a callback of fsspec."""

    def __init__(self, callback: Any) -> None:  # noqa: ANN401 - of fsspec
        self._callback = callback

    def __call__(self, progress: Any) -> None:  # noqa: ANN401 - a TransferProgress
        self._callback.set_size(progress.total_bytes)
        self._callback.absolute_update(progress.done_bytes)


def _directory(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _info(vfolder: str, entry: Entry) -> dict[str, Any]:
    found = {
        "name": f"{vfolder}/{entry.path}" if entry.path else vfolder,
        "size": entry.size_bytes or 0,
        "type": _TYPES.get(entry.kind, "other"),
        "mtime": entry.modified_at,
        "mode": entry.mode,
        "islink": entry.kind == "symlink",
    }
    if entry.etag:
        found["ETag"] = entry.etag
    if entry.symlink_target:
        found["destination"] = entry.symlink_target
    return found


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Turn problems into the errors of a file system, as users of fsspec expect them."""
    try:
        yield
    except (Absent, VFolderNotFound) as error:
        raise FileNotFoundError(errno.ENOENT, str(error), path) from error
    except (NotPermitted, NotAuthenticated) as error:
        raise PermissionError(errno.EACCES, str(error), path) from error
    except (EntryExists, PreconditionFailed) as error:
        raise FileExistsError(errno.EEXIST, str(error), path) from error
    except Problem as error:
        raise OSError(errno.EIO, str(error), path) from error
