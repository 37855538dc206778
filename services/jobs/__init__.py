"""Jobs on a whole store: ingest, backfill, cluster, adapt, condense. The command line and the services run them."""
