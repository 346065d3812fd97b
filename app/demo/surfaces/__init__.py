"""What OpenAI, Cohere, Jina and Gemini have beside chat: completions, embeddings, rerank, transcriptions, stored objects.

| file | endpoints |
|---|---|
| `completions.py`, `embeddings.py`, `moderations.py` | OpenAI's, by those names |
| `transcriptions.py` | `/audio/transcriptions` and `/audio/translations` |
| `rerank.py` | `/rerank`, as Jina and vLLM have it |
| `cohere.py` | `/v2/embed` and `/v2/rerank` |
| `gemini_embeddings.py` | `:embedContent` and `:batchEmbedContents`, of `/v1beta` and `/v1` |
| `files.py`, `uploads.py`, `batches.py`, `containers.py`, `conversations.py`, `vector_stores.py` | OpenAI's, by those names |

OpenAI's and `/rerank` are there without a prefix, below `/v1` and below `/openai/v1`. `intake.py` has the steps that all
share: the key, the fields, the options of `app.demo.options`. Fields that nobody here knows are accepted, as the servers of
many vendors do; those that are known have to be right. `forms.py` reads forms as they come, `clerk.py` keeps objects, of each
key its own: the options of these have no model's name to stand in, so they are read from the header `x-demo`, or scripted
for a model that is called `files`, `uploads`, `batches`, `containers`, `conversations` or `vector_stores`. `all.py` has the
list. Images, speech and videos have their own options and stand in `app.demo.media`.
"""
