"""Corpora: documents, their split by hash, token shards in a content-keyed cache, the stream of sequences."""
