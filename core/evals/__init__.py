"""Suites, scores, statistics, regressions and the curriculum: pure functions of files."""
