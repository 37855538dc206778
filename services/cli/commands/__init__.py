"""The commands of `headwater`, one file for each family."""
