"""What every test may count on."""

from __future__ import annotations

import signal

from hypothesis import settings

# A suite started in the background of a shell inherits "ignore" for Ctrl-C, and with it every command under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is timed: cores may be shared.
settings.register_profile("rounds", deadline=None)
settings.load_profile("rounds")
