import os

from hypothesis import settings

# The tests run in two processes on two cores: one thread each. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A deadline an example measures the machine, which may be busy with other things.
settings.register_profile("palimpsest", deadline=None)
settings.load_profile("palimpsest")
