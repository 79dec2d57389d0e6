"""Ways out: each takes edited frames and their sound."""
