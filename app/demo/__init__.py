"""The demo upstream: an ASGI app that speaks upstream wire formats with deterministic answers and faults on demand.

It stands in for the real providers in `make run`, in the tests and in the benchmarks. Start it with
`python -m app.demo`, or mount `app.demo.server.create_demo_app()`. Each wire format has a file of its own; the
options that shape an answer stand in `app.demo.options`.
"""
