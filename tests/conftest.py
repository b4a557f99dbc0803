import os
import signal

from hypothesis import settings

# The tests run in two processes on two cores: one thread each. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No translation is kept for the next run of the tests, nor taken from the user's.
os.environ["PALIMPSEST_CACHE"] = "off"

# A shell that starts the tests in the background has them ignore Ctrl-C, which the processes under
# test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline an example measures the machine, which may be busy with other things.
settings.register_profile("palimpsest", deadline=None)
settings.load_profile("palimpsest")
