"""Stand-ins of vendors' programs: each is run by its path, or through a link by another name."""
