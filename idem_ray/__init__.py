"""idem_ray: iterated finetuning as an instrument. See README.md for the two commands to start with."""

__version__ = "0.1.0"
