"""Penalties: what is learned, how few numbers generate a weight for every feature."""
