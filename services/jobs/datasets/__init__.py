"""Readers of published data sets, as they are downloaded: which files a folder has, and what is in them."""
