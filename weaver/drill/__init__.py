"""weaver drill: a factory of its own, broken in every way, to see that nothing is lost."""
