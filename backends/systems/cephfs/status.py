"""The status of a Ceph cluster, by its own program `ceph … -f json`."""

import errno
import subprocess
from collections.abc import Mapping
from typing import Any

import orjson

from backends.base import HardwareInfo, HardwareStatus, PerformanceMetric
from core.errors import AccessRefused, BackendFailed, DeadlineExceeded, Unsupported
from core.process import run_command

#: A command that takes longer counts as failed (seconds). The program is Python: on a busy node it
#: takes seconds to begin.
ANSWER_SECONDS = 30
#: How many warnings are shown at most.
CHECKS_MAX = 10
_MICROSECONDS = 1000.0  # in a millisecond
#: `ceph` ends with the number of its error.
_DENIED = frozenset({errno.EPERM, errno.EACCES})
_HEALTH = {"HEALTH_OK": HardwareStatus.HEALTHY, "HEALTH_WARN": HardwareStatus.DEGRADED}


def ask(options: Mapping[str, Any], *words: str) -> Any:  # noqa: ANN401 - any JSON value
    """Run a command of `ceph`; `options` may have `ceph_conf`, `ceph_user` and `ceph_keyring`.

    Raises:
        Unsupported: the program is not installed here.
        DeadlineExceeded: no answer in time.
        AccessRefused: Ceph refuses the client or its capabilities.
        BackendFailed: Ceph failed. Its own words are in the service's log, not in the answer.
    """
    command = ["ceph", "--connect-timeout", str(ANSWER_SECONDS // 2), "-f", "json"]
    for option, flag in (("conf", "-c"), ("user", "--name"), ("keyring", "--keyring")):
        if value := options.get(f"ceph_{option}"):
            command += [flag, str(value)]
    try:
        done = run_command([*command, *words], ANSWER_SECONDS, env=None)
    except FileNotFoundError:
        raise Unsupported("The program `ceph` is not installed on this node.") from None
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded("The Ceph cluster did not answer in time.") from None
    if done.returncode in _DENIED:
        raise AccessRefused(
            "The Ceph cluster refuses the client; compare ceph_user and ceph_keyring with its "
            f"capabilities (error {done.returncode}).",
        )
    if done.returncode != 0:
        raise BackendFailed(f"The Ceph cluster refused to answer (error {done.returncode}).")
    try:
        return orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        raise BackendFailed("The Ceph cluster's answer is no JSON.") from None


def hardware(status: Mapping[str, Any]) -> HardwareInfo:
    """Return the health of the cluster, with its warnings."""
    health = status.get("health", {})
    word = str(health.get("status", "unknown"))
    checks = sorted(health.get("checks", {}))
    info = ", ".join(checks[:CHECKS_MAX]) + (" …" if len(checks) > CHECKS_MAX else "")
    metadata = {"health": word, "checks": str(len(checks))}
    return HardwareInfo(_HEALTH.get(word, HardwareStatus.UNAVAILABLE), info or None, metadata)


def performance(status: Mapping[str, Any], osds: Mapping[str, Any]) -> PerformanceMetric:
    """Return the rates of the complete cluster; keys that an idle cluster leaves out are zero.

    Ceph reports no time of client operations. The mean time in which its OSDs commit (writes) and
    apply (reads) stands in for it.
    """
    rates = status.get("pgmap", {})
    figures = [one["perf_stats"] for one in osds.get("osdstats", osds).get("osd_perf_infos", [])]
    return PerformanceMetric(
        iops_read=rates.get("read_op_per_sec", 0),
        iops_write=rates.get("write_op_per_sec", 0),
        io_bytes_read=rates.get("read_bytes_sec", 0),
        io_bytes_write=rates.get("write_bytes_sec", 0),
        io_usec_read=_mean([f["apply_latency_ms"] for f in figures]) * _MICROSECONDS,
        io_usec_write=_mean([f["commit_latency_ms"] for f in figures]) * _MICROSECONDS,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
