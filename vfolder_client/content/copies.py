"""Copies between vfolders, or within one: through this machine, in one stream for each file."""

from collections import deque

from vfolder_client.content.files import RemoteReader, RemoteWriter
from vfolder_client.content.pool import Stop, for_each
from vfolder_client.content.results import ContentFolder, TransferMeter, TransferResult
from vfolder_client.content.trees import Outcome, make_directories
from vfolder_client.documents import Entry, joined
from vfolder_client.errors import ClientError

#: Bytes that one request reads.
_READ_BYTES = 8 * 1024 * 1024
_LINK = "a symlink"


def copy_entry(
    source: ContentFolder,
    entry: Entry,
    target: tuple[ContentFolder, str],
    *,
    parallel: int,
    overwrite: bool,
    meter: TransferMeter,
) -> TransferResult:
    """Copy a file or a directory to a path of a vfolder; see `VFolder.copy`."""
    outcome = Outcome()
    folder, path = target
    directories = [path] if entry.is_directory and path else []
    files = [(entry, path)] if entry.is_file else []
    waiting = deque([(entry.path, path)] if entry.is_directory else [])
    while waiting:
        directory, to = waiting.popleft()
        for found in source.list(directory):
            name = joined(to, found.name)
            if found.is_directory:
                directories.append(name)
                waiting.append((found.path, name))
            elif found.is_file:
                files.append((found, name))
            else:
                outcome.result.left_out.append((found.path, _LINK))
    meter.expect(len(files), sum(one.size_bytes or 0 for one, _ in files))
    make_directories(folder, directories, outcome.result)

    def copy(one: tuple[Entry, str], stop: Stop) -> None:
        try:
            _copy_file(
                source,
                one[0],
                RemoteWriter(folder.connection, folder.route, one[1], overwrite=overwrite),
                (stop, meter),
            )
        except ClientError as error:
            stop.check()
            if not entry.is_directory:
                raise
            outcome.fail(one[1], error, meter)
        else:
            meter.finished()
            outcome.add(TransferResult(files=1, size_bytes=one[0].size_bytes or 0))

    for_each(files, copy, parallel)
    return outcome.result


def _copy_file(
    source: ContentFolder, entry: Entry, writer: RemoteWriter, over: tuple[Stop, TransferMeter]
) -> None:
    stop, meter = over
    url = source.content_url(entry.path)
    with writer, RemoteReader(source.connection, url, entry.etag) as reader:
        at = 0
        while data := reader.range(at, at + _READ_BYTES):
            stop.check()
            writer.write(data)
            at += len(data)
            meter.moved(len(data))
