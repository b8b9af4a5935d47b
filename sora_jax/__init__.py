"""sora_jax: an open, reproducible text-to-video diffusion transformer in JAX."""

__version__ = "0.1.0"
