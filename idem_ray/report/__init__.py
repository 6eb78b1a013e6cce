"""What people see: pages, figures, tables, the terminal; `templates/` has the pages' HTML, style and script.

Reads the store and the statistics. May not decide anything: a status or a verdict is worked out elsewhere.
"""
