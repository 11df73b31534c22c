"""Bytes and rows here: files, spools, leases and the database; knows neither HTTP nor upstreams."""
