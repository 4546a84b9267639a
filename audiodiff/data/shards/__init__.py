"""Corpora packed into shards."""
