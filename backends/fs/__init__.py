"""The file system calls all others use: descriptors, paths, layout. Knows no backend."""
