"""The two HTTP services, the command line, and the jobs that both run."""
