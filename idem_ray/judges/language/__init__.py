"""Judges that are language models: a trait's rubrics, put to an endpoint or to an engine in this process.

Prompts, scoring and the cache are the same for both. May not know of runs, nor keep a key: these are read from the
environment alone.
"""
