"""All metrics of this service: names, labels, buckets.

Names that begin with `backendai_` are those of the reference service, so that its dashboards still
work. Our own names begin with `vfolder_` and use base units. Labels come from small closed sets,
never from ids or paths.

Import this after `core.process.metrics_files.start_fresh`: `prometheus_client` decides at its first
import whether the processes of a node are added up.
"""

from prometheus_client import Counter, Gauge, Histogram

#: Buckets of requests, as in the reference service, and of calls to a backend (seconds).
REQUEST_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30)
#: Jobs take from a second to days.
JOB_BUCKETS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400, 3 * 86_400)
#: Buckets of observing the speed of a volume, as in the reference service (seconds).
OBSERVE_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 30)

#: Buckets of background tasks, as in the reference service (seconds).
TASK_BUCKETS = (0.1, 1, 10, 30, 60, 300, 600)

#: Labels of a request; `api/http/metrics.py` makes the counter with the same ones.
REQUEST_LABELS = ("method", "endpoint", "domain", "operation", "error_detail", "status_code")

REQUEST_SECONDS = Histogram(
    "backendai_api_request_duration_sec",
    "From the request's arrival to the end of the answer.",
    REQUEST_LABELS,
    buckets=REQUEST_BUCKETS,
)
OBSERVED = Counter(
    "backendai_storage_volume_stats_observe",
    "Observations of the speed of a volume.",
    ("volume", "status"),
)
OBSERVE_SECONDS = Histogram(
    "backendai_storage_volume_stats_observe_duration_seconds",
    "Time of an observation of the speed of a volume.",
    ("volume",),
    buckets=OBSERVE_BUCKETS,
)

_TASK_LABELS = ("task_name", "status", "domain", "operation", "error_detail")
TASKS_DONE = Counter("backendai_bgtask_done_count", "Ended background tasks.", _TASK_LABELS)
TASK_SECONDS = Histogram(
    "backendai_bgtask_processing_time_sec",
    "From the start of a background task to its end.",
    _TASK_LABELS,
    buckets=TASK_BUCKETS,
)

AUDIT_LOST = Counter(
    "vfolder_audit_lost", "Refusals and openings that the audit log could not record."
)
JOBS = Counter("vfolder_jobs", "Jobs that ended, however they did.", ("verb", "state"))
JOB_SECONDS = Histogram(
    "vfolder_job_seconds", "From a job's submission to its end.", ("verb",), buckets=JOB_BUCKETS
)
COPIED_BYTES = Counter("vfolder_copied_bytes", "Bytes of ended copies.", ("volume", "method"))
COPIED_ITEMS = Counter("vfolder_copied_items", "Files of ended copies.", ("volume", "method"))
STREAMED_BYTES = Counter(
    "vfolder_stream_bytes", "Bytes of downloads (out) and uploads (in).", ("direction",)
)
PACED_BYTES = Counter(
    "vfolder_paced_bytes",
    "Bytes of downloads (out) and uploads (in) that moved under a volume's budget.",
    ("volume", "direction"),
)
STREAMS_OPEN = Gauge(
    "vfolder_streams_open", "Answers that are not through yet.", multiprocess_mode="livesum"
)
BACKEND_SECONDS = Histogram(
    "vfolder_backend_call_seconds",
    "Calls of the doors to a volume's backend.",
    ("volume", "outcome"),
    buckets=REQUEST_BUCKETS,
)
THRESHOLDS = Counter(
    "vfolder_quota_thresholds",
    "Times a quota scope rose to a share of its limit (percent).",
    ("volume", "percent"),
)
NOTICES_POSTED = Counter(
    "vfolder_notices_posted",
    "Posts of notices to the webhook; a repetition counts again.",
    ("outcome",),
)
NOTICES_DROPPED = Counter(
    "vfolder_notices_dropped",
    "Notices that the webhook does not get: given up, or too many waited.",
    ("outcome",),
)
VFOLDER_THRESHOLDS = Counter(
    "vfolder_limit_thresholds",
    "Times a vfolder rose to a share of its own limit (percent).",
    ("volume", "percent"),
)
