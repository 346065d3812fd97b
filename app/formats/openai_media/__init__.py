"""OpenAI's image and audio endpoints: how their usage reads."""
