"""Google's generateContent format: how its usage reads."""
