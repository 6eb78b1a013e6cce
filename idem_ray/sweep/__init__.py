"""Lineages side by side on Ray Tune: the search, trials, names, calibration, forecast, trackers, what a job does.

The top room below the command line. May not know how a cycle is made: that is the lineage's.
"""
