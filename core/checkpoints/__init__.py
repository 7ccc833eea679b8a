"""Checkpoints: records, ledger, ranking, retention, deployment."""
