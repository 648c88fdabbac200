"""What a storage job is: words, records, rules. Knows no web framework, no Celery, no vendor."""
