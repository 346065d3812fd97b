"""What may be called and what it costs: models, prices, aliases, and the channels that serve them."""
