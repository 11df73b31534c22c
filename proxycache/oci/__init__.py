"""What the OCI specifications say: pure values and parsers; no I/O, no clock, no asyncio."""
