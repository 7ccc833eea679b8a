"""Jobs: the drop, its validation, the spool of job folders."""
