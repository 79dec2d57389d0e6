"""Public weights: a catalogue of what there is, and a per-user cache that fetches, checks and keeps it."""

from engine.weights.cache import Progress, State, cache_dir, entry, fetch, location, path, verify
from engine.weights.catalogue import CATALOGUE, WeightFile

__all__ = [
    "CATALOGUE",
    "Progress",
    "State",
    "WeightFile",
    "cache_dir",
    "entry",
    "fetch",
    "location",
    "path",
    "verify",
]
