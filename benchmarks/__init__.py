"""Benchmarks that write the tables of the README and docs; they are run by hand, never as tests."""
