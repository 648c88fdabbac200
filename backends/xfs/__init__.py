"""The XFS and ext4 backends: project quotas. Knows no job and no HTTP."""
