"""A folder for PYTHONPATH: what Python imports from it at its start lets a drill set the wall clock of its own programs."""
