"""Ways of running a flat graph: as it is, compiled for the processor, replayed on a GPU, as a TensorRT engine."""
