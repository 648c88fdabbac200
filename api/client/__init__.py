"""The client door: downloads, archives and uploads by ticket."""

from api.client.routes import blueprint

__all__ = ["blueprint"]
