"""Trees as one stream: planned from what lstat says, then sent exactly as planned."""
