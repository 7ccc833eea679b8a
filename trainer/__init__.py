"""The trainer: the only program that imports torch. It takes work from files and answers in files."""
