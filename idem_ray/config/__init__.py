"""What the user writes, checked before anything starts: sections of settings, a lineage, a search space, their files.

Frozen pydantic models, hashed by content. May not know where anything runs or is kept: no Ray, no store, no model.
"""
