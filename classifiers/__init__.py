"""Heads: learned offline from stored vectors (`fit`), served with NumPy alone (`heads`)."""
