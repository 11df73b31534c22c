"""Properties are checked with few examples and without a deadline: the suite stays fast on a busy machine."""

from hypothesis import settings

settings.register_profile("quick", deadline=None, max_examples=50)
settings.load_profile("quick")
