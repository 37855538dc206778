"""The rows of a task, as training and evaluation read them: labels with vectors or tokens, and their scores."""
