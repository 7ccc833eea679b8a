"""Parts of prune_checkpoints: what becomes of the data of jobs that are done."""
