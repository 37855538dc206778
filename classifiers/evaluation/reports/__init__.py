"""What training found out, as JSON for programs and as Markdown for people."""
