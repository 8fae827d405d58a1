"""Property tests have no deadline: a busy machine makes nothing wrong."""

from hypothesis import settings

settings.register_profile("kvsim", deadline=None)
settings.load_profile("kvsim")
