"""Learning of heads with one class for each row, and scoring of rows that a head did not learn from."""
