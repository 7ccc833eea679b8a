"""The audit: whether the factory is what it says, from the files alone."""
