"""CLIP-Decoder (arXiv 2406.14830) on the tokens of a store: labels that training never saw, found by their texts."""
