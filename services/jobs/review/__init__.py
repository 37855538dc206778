"""What a person should look at in a store: near-duplicates, labels that may be wrong, and what to label next.

Each job returns a table, so that a command can print it and a page can show it.
"""
