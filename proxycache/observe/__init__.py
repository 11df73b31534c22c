"""Counts and log lines made of events; imported by the edges only."""
