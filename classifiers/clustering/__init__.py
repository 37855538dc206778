"""What is stored, without labels: clusters of it, and what they look like."""
