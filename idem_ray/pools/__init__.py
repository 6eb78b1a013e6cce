"""The actors that hold models, loaded once and shared by all lineages: generators, judges, trainers; their progress.

Roles never import each other, and none of them knows what a lineage does with its work.
"""
