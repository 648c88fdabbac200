"""The CephFS backend: quota, snapshots, status. Knows no job and no HTTP."""
