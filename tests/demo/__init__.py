"""The demo upstream, judged over real HTTP on loopback."""
