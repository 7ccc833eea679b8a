"""What every daemon shares: the loop, the beats, the error budget, the context."""
