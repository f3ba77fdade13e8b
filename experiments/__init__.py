"""What was run and measured with egan_jax; nothing in the package imports it."""
