"""What a storage job is: names, records, rules. Knows no web framework, no Celery, no vendor."""
