"""Ray itself: the session with its pools, places on a cluster, locks between processes, jobs sent to one, the doctor.

May know the pools and the settings that size them. May not know what a lineage or a sweep is, nor what people see.
"""
