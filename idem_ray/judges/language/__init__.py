"""Judges that are language models: a trait's rubrics, put to an endpoint or to an engine in this process.

Prompts, scoring and the cache are the same for both. Keys are read from the environment and kept nowhere.
"""
