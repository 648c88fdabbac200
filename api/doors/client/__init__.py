"""The client door: downloads, archives and uploads by ticket."""

from api.doors.client import archives, creation, downloads, origins, pages, uploads
from api.doors.client.routes import blueprint

__all__ = ["archives", "blueprint", "creation", "downloads", "origins", "pages", "uploads"]
