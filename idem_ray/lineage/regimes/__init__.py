"""The regimes: what a cycle is seeded with, what it samples, and from whom; a file for each kind of data.

Pure functions of settings and trait. May not know how samples are made, judged or trained on.
"""
