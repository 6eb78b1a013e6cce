"""Pure functions over numbers and texts: estimates with intervals, criteria, agreement, what can be counted in a text.

numpy, scipy and scikit-learn alone. May not know files, models or settings.
"""
