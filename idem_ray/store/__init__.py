"""What is kept: a run's folder, a sweep's ledger, lineages as they are read back, the guards that end one.

The only makers of paths below an output folder. May not know what made the data, nor how it is shown.
"""
