"""Choice of channel: what is known of each channel's health, and which of them a request tries next."""
