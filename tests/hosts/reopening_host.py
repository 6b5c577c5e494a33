"""Opens and closes the plugin's window in one process: `reopening_host.py VST3 STATE TIMES`.

A process of its own, since the window takes over the main thread. After every closing it prints, as JSON, whether
the window was drawn and what the process holds then.
"""

import json
import pathlib
import sys
import threading
import time

import pedalboard

import conftest  # noqa: F401 (loads faster with it)
from held import held, threads

# The plugin's thread for drawing, which its first frame starts, as the kernel cuts the name.
WINDOW_THREAD = "soundlocd windo"
# For some more frames, so that all of the window was drawn.
LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 15


def look(closed: threading.Event, seen: threading.Event):
    """Looks at the window until it was drawn, and closes it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if WINDOW_THREAD in threads():
            seen.set()
            break
        time.sleep(0.01)
    time.sleep(LOOK_SECONDS)
    closed.set()


plugin = pedalboard.load_plugin(sys.argv[1], initialization_timeout=0.1)
plugin.raw_state = pathlib.Path(sys.argv[2]).read_bytes()
for _ in range(int(sys.argv[3])):
    closed, seen = threading.Event(), threading.Event()
    watcher = threading.Thread(target=look, args=(closed, seen))
    watcher.start()
    plugin.show_editor(closed)
    watcher.join()
    print(json.dumps(held() | {"was_drawn": seen.is_set()}), flush=True)
