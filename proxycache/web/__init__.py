"""The HTTP edge: parse, one job, render."""
