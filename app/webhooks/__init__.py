"""What accounts are told over HTTP: where to, signed with what, and the outbox that delivers it."""
