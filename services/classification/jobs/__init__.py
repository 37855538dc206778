"""Jobs over HTTP: work on the whole store that runs in processes of its own, beside the answers of the service."""
