"""The client door: downloads, archives and uploads by ticket."""

from api.client import creation, downloads, origins, uploads
from api.client.routes import blueprint

__all__ = ["blueprint", "creation", "downloads", "origins", "uploads"]
