"""The benchmark of the gateway's billed path: `python -m bench` measures it against a bare pass-through."""
