"""Several instances in one process: `instances_host.py VST3 STATE COUNT`.

Loads them all with the same state, then shows the window of each in turn, that of the first one twice. A line on
standard input closes a window; then a line of JSON is printed with what the process holds and how many sounds the
instance has.
"""

import json
import pathlib
import sys
import threading

import pedalboard

import conftest  # noqa: F401 (loads faster with it)
import juce_state
from held import held

state = pathlib.Path(sys.argv[2]).read_bytes()
instances = [pedalboard.load_plugin(sys.argv[1], initialization_timeout=0.1) for _ in range(int(sys.argv[3]))]
for instance in instances:
    instance.raw_state = state
for instance in [instances[0], *instances]:
    closed = threading.Event()

    def wait_for_line():
        sys.stdin.readline()
        closed.set()

    threading.Thread(target=wait_for_line, daemon=True).start()
    instance.show_editor(closed)
    kit = juce_state.field(juce_state.unwrap(instance.raw_state), "kit")
    print(json.dumps(held() | {"sounds": len(kit["clips"]) if kit else 0}), flush=True)
