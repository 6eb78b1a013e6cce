"""What people see: pages, figures, tables, the terminal; `templates/` has each page's HTML with its own charts and
their colours (`sweep.html`: the heatmap), and the style and script that they share.

Reads the store and the statistics. May not decide anything: a status or a verdict is worked out elsewhere.
"""
