"""Traits (seeds, documents, held-out questions, rubrics, anchors), prompt pools, and what may be wrong with either.

`shipped/` and `prompts/` hold the data that come with idem_ray. May not know who trains or judges with it.
"""
