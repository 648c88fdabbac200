"""The client door: downloads, archives and uploads by ticket."""
