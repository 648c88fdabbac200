"""The main job on real files, as a user does it: over HTTP, from upload to delete."""
