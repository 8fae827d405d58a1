"""Property tests have no deadline: a busy machine makes nothing wrong. Torch has one thread, as workers share cores."""

import os
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

if find_spec("hypothesis"):  # a GPU machine that runs the kernel tests alone may lack it
    from hypothesis import settings

    settings.register_profile("kvsim", deadline=None)
    settings.load_profile("kvsim")
