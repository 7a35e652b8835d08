"""Measurements that the README's tables are made from; run by hand, never as tests."""
