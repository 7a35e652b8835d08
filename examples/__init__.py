"""Small programs that the documentation shows."""
