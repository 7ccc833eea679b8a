"""The web process: a reader of status and the queue, behind its doors."""
