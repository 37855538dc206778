"""HTTP services, command line and jobs."""
