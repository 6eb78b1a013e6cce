"""One training run with TRL and PEFT: an order, its rows as they stream, the losses, the checkpoint.

The only room that imports trl. May not know of regimes, lineages or Ray: an order says all.
"""
