"""Property tests have no deadline: a busy machine makes nothing wrong."""

from importlib.util import find_spec

if find_spec("hypothesis"):  # a GPU machine that runs the kernel tests alone may lack it
    from hypothesis import settings

    settings.register_profile("kvsim", deadline=None)
    settings.load_profile("kvsim")
