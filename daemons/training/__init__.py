"""Parts of train_next: what becomes of a job whose training ended, one way or another."""
