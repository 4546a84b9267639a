"""Corpora packed into shards by litdata, for more recordings than a disk holds."""
