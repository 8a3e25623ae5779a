"""A pair as a codec: lossless by bits-back, lossy by quantised latents, and what others make of the same data."""
