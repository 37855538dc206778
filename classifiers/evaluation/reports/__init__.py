"""Reports of training, as JSON for programs and as Markdown for people."""
