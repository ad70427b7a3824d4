"""The roles: processes that run the steps; Celery and signals live here and nowhere else."""
