"""Access records of vfolders, users and groups, as files beside the data. Knows no permission."""

from backends.access import files
from backends.access.files import RecordChanged, RecordFile, RecordPage

__all__ = ["RecordChanged", "RecordFile", "RecordPage", "files"]
