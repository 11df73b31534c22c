"""The jobs that a registry does, one file each; never sees an HTTP request or response."""
