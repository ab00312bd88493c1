"""What a worker does, one file a kind of job. Only the worker imports these."""
