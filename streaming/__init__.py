"""Getting pictures and sound into the engine and out again: files, and the command line."""
