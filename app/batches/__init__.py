"""Batches: files of requests that an upstream answers within a day; read, priced and held before it hears of them."""
