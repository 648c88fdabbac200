"""One run of a job: context, manifest, report, drain. Knows no verb and no Celery."""
