"""The client door: downloads, archives and uploads by ticket. It knows no manager's secret."""

from api.doors.client import downloads, tickets, tus, upload_session, uploads
from api.doors.client.routes import blueprint

__all__ = [
    "blueprint",
    "downloads",
    "openapi",
    "tickets",
    "tus",
    "upload_session",
    "uploads",
]
