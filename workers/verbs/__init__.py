"""The verbs: one file for each. They know their run, and never Celery."""
