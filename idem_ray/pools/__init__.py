"""The actors that hold models, loaded once and shared by all lineages: generators, judges, trainers; their progress.

Roles never import each other. May not know what a lineage does with their work.
"""
