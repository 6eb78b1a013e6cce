"""One lineage: its plan, the cycle loop, what a cycle samples and trains on, measuring, forks, judging anew.

The room that wires the roles together. May not know of other lineages, other than by what is shared (`shared.py`;
`LineageConfig.history` and `Plan.history` decide which cycles are).
"""
