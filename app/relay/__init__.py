"""The request path, one file a verb; read `pipeline.py` first."""
