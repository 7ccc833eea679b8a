"""The daemons: one module, one verb, one bounded tick."""
