"""What the user writes, checked before anything starts: sections of settings, a lineage, a search space, their files.

Frozen pydantic models, hashed by content: `lineage.py` has the hash (`history`) by which lineages share a cycle.
May not know where anything runs or is kept: no Ray, no store, no model.
"""
