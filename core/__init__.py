"""The library under the three programs: nouns, records and pure decisions. Core never runs by itself."""
