"""The process itself: version, user, privileges, children, commands, metric files. Knows no job."""

from core.process import identity, metrics_files, privileges
from core.process.addresses import check_free, listen_addresses
from core.process.certificates import certificate_end, certificate_files, check_certificate
from core.process.child import end_with_parent, request_end_with_parent
from core.process.command import run_command, tool_environment
from core.process.ending import MISCONFIGURED, end_unstarted
from core.process.loading import loading
from core.process.unix_socket import unix_address

__all__ = [
    "MISCONFIGURED",
    "certificate_end",
    "certificate_files",
    "check_certificate",
    "check_free",
    "end_unstarted",
    "end_with_parent",
    "identity",
    "json_post",
    "listen_addresses",
    "loading",
    "metrics_files",
    "pinned_tls",
    "privileges",
    "request_end_with_parent",
    "run_command",
    "tool_environment",
    "unix_address",
    "version",
]
