"""Benchmarks: what livedub reaches, measured by one command each."""
