"""The library under the three programs: nouns, records and pure decisions. Core never runs by itself."""

__version__ = "0.1.0"  # the same as in pyproject.toml; read by light daemons, which do without importlib.metadata
