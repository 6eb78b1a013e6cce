"""The judges that need no server: a probe on the embedded model's states for the trait, a formula for coherence.

What decides a score is hashed into the judge's name. May not know of runs, cycles or pools.
"""
