"""The oracle: an OpenAI-compatible server that answers only as the checkpoint that was asked for."""
