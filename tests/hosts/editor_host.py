"""Shows the plugin's window in pedalboard: `editor_host.py VST3 STATE_OUT [STATE_IN]`.

A process of its own, since the window takes over the main thread. A line on standard input (or its
end) closes the window; then the plugin's state is written to STATE_OUT and, as a musician would
next, middle C is played.
"""

import sys
import threading

import pedalboard

import conftest  # noqa: F401 (loads faster with it)

# Without waiting for a sound: a new instance has none.
plugin = pedalboard.load_plugin(sys.argv[1], initialization_timeout=0.1)
if len(sys.argv) > 3:
    with open(sys.argv[3], "rb") as file:
        plugin.raw_state = file.read()
closed = threading.Event()


def wait_for_line():
    sys.stdin.readline()
    closed.set()


threading.Thread(target=wait_for_line, daemon=True).start()
plugin.show_editor(closed)
with open(sys.argv[2], "wb") as file:
    file.write(plugin.raw_state)
audio = plugin([(bytes([0x90, 60, 100]), 0.0)], duration=0.5, sample_rate=48_000, num_channels=2)
print(f"peak {abs(audio).max():.6f}", flush=True)
