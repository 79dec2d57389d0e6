"""Editing: inversion, tuning, the speaker profile, per-frame edits and their composite."""
