"""Rates of a file system from the performance monitoring of Storage Scale (perfmon).

Each column of the answer is one counter of one node, and each row the sums of one bucket. The
newest row is often not complete: some nodes have not reported yet.
"""

from msgspec import Struct, field

from backends.base import PerformanceMetric
from core.errors import Unavailable

#: Seconds of one bucket, and how many are asked: the newest ones may lack values.
BUCKET_SECONDS = 60
_BUCKETS = 5
_READS, _WRITES = "gpfs_fs_read_ops", "gpfs_fs_write_ops"
_READ_BYTES, _WRITE_BYTES = "gpfs_fs_bytes_read", "gpfs_fs_bytes_written"
_READ_WAIT, _WRITE_WAIT = "gpfs_fs_tot_disk_wait_rd", "gpfs_fs_tot_disk_wait_wr"
_COUNTERS = (_READS, _WRITES, _READ_BYTES, _WRITE_BYTES, _READ_WAIT, _WRITE_WAIT)
_USEC = 1_000_000


class _Column(Struct):
    keys: list[str] | None = None
    caption: str = ""

    @property
    def counter(self) -> str:
        """Return the counter: the end of a key such as `node|…|fs1|gpfs_fs_read_ops`."""
        key = self.keys[0] if self.keys else self.caption
        return key.rpartition("|")[2]


class _Bucket(Struct):
    values: list[float | None] = []


class PerformanceData(Struct):
    """Columns and rows, the oldest row first."""

    legend: list[_Column] | None = None
    rows: list[_Bucket] | None = None


class PerfMon(Struct, rename="camel"):
    """The answer of the monitoring."""

    performance_data: PerformanceData = field(default_factory=PerformanceData)


def query(file_system: str) -> str:
    """Return the question for the counters of a file system over the last minutes."""
    names = ",".join(_COUNTERS)
    return (
        f"metrics {names} from gpfs_fs_name={file_system} last {_BUCKETS} "
        f"bucket_size {BUCKET_SECONDS}"
    )


def metric(data: PerformanceData) -> PerformanceMetric:
    """Return the rates of the newest complete row.

    Raises:
        Unavailable: no row is complete.
    """
    columns = [column.counter for column in data.legend or []]
    for row in reversed(data.rows or []):
        if columns and len(row.values) == len(columns) and None not in row.values:
            return _of(columns, [value or 0.0 for value in row.values])
    raise Unavailable("Storage Scale has no complete sample of the file system's speed now.")


def _of(columns: list[str], values: list[float]) -> PerformanceMetric:
    sums = dict.fromkeys(_COUNTERS, 0.0)
    for counter, value in zip(columns, values, strict=True):
        sums[counter] = sums.get(counter, 0.0) + value
    return PerformanceMetric(
        iops_read=round(sums[_READS] / BUCKET_SECONDS),
        iops_write=round(sums[_WRITES] / BUCKET_SECONDS),
        io_bytes_read=round(sums[_READ_BYTES] / BUCKET_SECONDS),
        io_bytes_write=round(sums[_WRITE_BYTES] / BUCKET_SECONDS),
        io_usec_read=sums[_READ_WAIT] * _USEC / sums[_READS] if sums[_READS] else 0.0,
        io_usec_write=sums[_WRITE_WAIT] * _USEC / sums[_WRITES] if sums[_WRITES] else 0.0,
    )
