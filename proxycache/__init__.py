"""A pull-through cache and registry for container images."""
