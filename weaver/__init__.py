"""The Weaver: supervision, the command line and the web process."""
