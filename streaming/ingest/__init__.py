"""Ways in: each reads a source into `VideoFrame` and `AudioChunk`."""
