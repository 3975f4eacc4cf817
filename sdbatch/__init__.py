"""sdbatch: batches of Stable Diffusion pictures, reproducible row by row."""

__version__ = "0.1.0"
