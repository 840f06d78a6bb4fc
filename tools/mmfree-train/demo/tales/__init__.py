"""A small simulated world and the grammar that tells stories about it."""
