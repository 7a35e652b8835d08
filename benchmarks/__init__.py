"""Benchmarks that write the tables of BENCHMARKS.md and docs; they are run by hand, never as tests."""
