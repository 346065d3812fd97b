"""Videos in the shape of a chat: a model of kind `video` called through Chat Completions."""
