"""What a storage system can do. Knows nothing of HTTP doors and of workers."""
