"""What a person should look at in labelled data: near-duplicates, labels that may be wrong, what to label next."""
