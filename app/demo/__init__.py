"""The demo upstream: an ASGI app that speaks upstream wire formats with deterministic answers and faults on demand.

It stands in for the real providers in `make run`, in the tests and in the benchmarks. Start it with
`python -m app.demo`, or mount `app.demo.server.create_demo_app()`. Each wire format has a file of its own. The
options that shape a chat answer stand in `app.demo.options`; images, videos and audio, in `app.demo.media`, have
their own. Tests read and script it all through `/_demo/...` (`app.demo.control`).
"""
