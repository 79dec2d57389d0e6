"""The commands of `livedub`, one module each: `add` describes its options, `run` does the work."""
