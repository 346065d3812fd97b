"""The demo upstream: an ASGI app that speaks upstream wire formats with deterministic answers and faults on demand.

It stands in for the real providers in `make run`, in the tests and in the benchmarks. Start it with
`python -m app.demo`, or mount `app.demo.server.create_demo_app()`. The chat formats are OpenAI's (`openai_*`, with the
dialects of vendors that are nearly compatible), Anthropic's (`anthropic_*`), Gemini's (`gemini_*`) and OpenAI's Responses
(`responses_*`), each as strict about its requests as the vendor is; what they share is what is said (`saying`) and how it
leaves (`answering`, `streaming`). What else there is to ask for, from embeddings to batches, stands in `app.demo.surfaces`.
The options that shape an answer stand in `app.demo.options`; images, videos and speech, in `app.demo.media`, have their
own. Tests read and script it all through `/_demo/...` (`app.demo.control`).
"""
