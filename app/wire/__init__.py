"""The socket's side of HTTP: what a connection may cost before a request is a request."""
