"""Permissions: signed tickets. Knows no job, no volume and no HTTP."""

from core.access import tickets
from core.access.tickets import (
    AnyTicket,
    ArchiveTicket,
    DownloadTicket,
    Ticket,
    TicketError,
    UploadTicket,
    read,
    restored,
)

__all__ = [
    "AnyTicket",
    "ArchiveTicket",
    "DownloadTicket",
    "Ticket",
    "TicketError",
    "UploadTicket",
    "read",
    "restored",
    "tickets",
]
