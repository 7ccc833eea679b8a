"""From the canonical lines of a job to batches: rows, mask checks, packing, collation."""
