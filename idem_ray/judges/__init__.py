"""From a text to a score of 0 to 100, for the trait or for coherence; panels, audits, and a run's noted anchors.

`embedded/` needs no server, `language/` puts a rubric to a language model. May not know Ray: the pool's actors are
elsewhere.
"""
