"""Jobs: record, requests, store, progress, control. Knows no queue broker and no storage."""
