"""The live engine: one session's pictures and voice, edited and released together at a constant delay."""
