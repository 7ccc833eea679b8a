"""Skills: a generator by level and seed with its grader beside it."""
