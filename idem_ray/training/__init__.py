"""One training run with TRL and PEFT: an order, its rows as they stream, the losses, the checkpoint.

The only room that imports trl. Blind to regimes, lineages and Ray: an order says all.
"""
