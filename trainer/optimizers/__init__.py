"""Optimizers and the groups of parameters they decay."""
