"""Bytes elsewhere: one client per upstream registry; knows nothing of the disk."""
