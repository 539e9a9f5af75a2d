"""What every test may count on."""

from __future__ import annotations

import signal

# A suite started in the background of a shell inherits "ignore" for Ctrl-C, and with it every command under test.
signal.signal(signal.SIGINT, signal.default_int_handler)
