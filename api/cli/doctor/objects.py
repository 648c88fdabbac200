"""The checks with --write of a volume whose vfolders are objects of a bucket."""

import os
import statistics
import time
from tempfile import TemporaryFile

from api.cli.doctor.own_scope import VFOLDER
from api.cli.doctor.reading import Examined, Found, milliseconds
from api.cli.doctor.results import Figures, NotAvailable, Wrong
from backends.base import HasObjectFiles
from backends.entries import object_tree
from core.names import VFolderPath

_MIB = 1 << 20
_SMALL_BYTES, _SMALL_FILES, _SMALL_SECONDS = 4096, 200, 3.0


def are_kept(examined: Examined) -> bool:
    """Return whether vfolders are objects, so that no directory can be opened."""
    return examined.backend.skill(HasObjectFiles) is not None


def write(examined: Examined, name: str, content: bytes) -> float:
    """Send a file of these bytes; return the seconds that it took."""
    files = examined.backend.skill(HasObjectFiles)
    if files is None:
        raise NotAvailable("The volume keeps no objects.")
    with TemporaryFile() as source:
        source.write(content)
        source.flush()
        began = time.perf_counter()
        files.send_file(
            VFOLDER,
            VFolderPath.parse(name),
            source.fileno(),
            len(content),
            upload="vfolder-doctor",
            on_work=int,
        )
        return time.perf_counter() - began


def bytes_speed(examined: Examined) -> Found:
    """Measure one big object, sent and read."""
    size = max(examined.big_bytes, _MIB)
    sent = write(examined, "big", os.urandom(size))
    tree = examined.backend.skill(object_tree.HasObjects)
    if tree is None:
        raise NotAvailable("The objects of this backend cannot be read back here.")
    began, read = time.perf_counter(), 0
    stream = tree.tree(VFOLDER).open_object(VFolderPath.parse("big"))
    try:
        while data := stream.read(_MIB):
            read += len(data)
    finally:
        stream.close()
    if read != size:
        raise Wrong(
            f"Of {size} bytes that were sent, {read} came back.",
            "Do not use this bucket; report the storage service.",
        )
    figures: Figures = {
        "written_mib": size // _MIB,
        "write_mib_per_second": round(size / _MIB / sent, 1),
        "read_mib_per_second": round(size / _MIB / (time.perf_counter() - began), 1),
        "read_by": "one request",
    }
    return (
        f"Writes {figures['write_mib_per_second']} MiB/s, reads {figures['read_mib_per_second']} "
        f"MiB/s; one object of {figures['written_mib']} MiB."
    ), figures


def small_files(examined: Examined) -> Found:
    """Measure objects of 4 KiB, one after the other."""
    content, times = os.urandom(_SMALL_BYTES), list[float]()
    began = time.perf_counter()
    while len(times) < _SMALL_FILES and time.perf_counter() - began < _SMALL_SECONDS:
        times.append(write(examined, f"small/{len(times)}", content))
    figures: Figures = {
        "small_files": len(times),
        "made_per_second": round(len(times) / sum(times), 1),
        "file_milliseconds": milliseconds(statistics.median(times)),
    }
    return (
        f"Makes {figures['made_per_second']} objects of 4 KiB per second, one after the other."
    ), figures
