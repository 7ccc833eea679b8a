"""Drops that are no plain JSON Lines, turned into JSON Lines by a child process: .json .csv .parquet, and .gz .zst of all."""
