"""Jobs on a whole store: ingest, backfill, cluster, adapt, condense."""
