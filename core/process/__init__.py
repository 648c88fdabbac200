"""The process itself: user, privileges, child processes, metric files. Knows no job."""
