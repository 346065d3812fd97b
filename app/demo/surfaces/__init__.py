"""What OpenAI, Cohere, Jina and Gemini have beside chat: completions, embeddings, rerank, transcriptions, stored objects.

`intake.py` has the steps that all share: the key, the fields, the options of `app.demo.options`. Fields that nobody here
knows are accepted, as the servers of many vendors do; those that are known have to be right. Images, speech and videos have
their own options and stand in `app.demo.media`.
"""
