"""Streams: files and hubs become corpora, corpora become experiences, experiences become a stream."""
