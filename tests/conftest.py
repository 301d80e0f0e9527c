"""What all tests share: hypothesis tries the same examples in every run and never times one."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")
