"""eGAN in JAX: many ordinary images, a handful of rare ones, one decision."""
