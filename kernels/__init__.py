"""How the engine's work runs fast: knows tensors and memory, no face, no file and no socket."""
