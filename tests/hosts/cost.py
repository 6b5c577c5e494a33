"""What 32 voices cost in pedalboard, in blocks of 64 at 48 kHz: `cost.py VST3 STATE`.

Run by hand, on the release bundle: a measurement, not a test. STATE is what the program `sine_state` writes. Prints shares of one
core, medians of five renderings: that of the host with the idle plugin, and what notes add to it.
"""

import json
import pathlib
import statistics
import sys
import time

import pedalboard

import conftest  # noqa: F401 (loads faster with it)
import juce_state

RATE = 48_000
BLOCK = 64
SECONDS = 10
VOICES = 32
RENDERINGS = 5

LOOPING = {"mode": {"string": "loop"}, "loopstart": {"f32": 0.2}, "loopend": {"f32": 0.8}}
FILTERED = LOOPING | {
    "filter": {"string": "low_pass"},
    "cutoff": {"f32": 2_000.0},
    "resonance": {"f32": 0.5},
    "crossfade": {"f32": 0.1},
}
SCENES = {
    "looping": LOOPING,
    "looping, filter": FILTERED,
    "looping, filter, air and width": FILTERED | {"air": {"f32": 0.5}, "width": {"f32": 0.5}},
}


def share(plugin, notes: int) -> float:
    """Processor time of a second of sound, in seconds."""
    midi = [(bytes([0x90, 44 + note, 100]), 0.0) for note in range(notes)]
    times = []
    for _ in range(RENDERINGS):
        start = time.process_time()
        audio = plugin(midi, duration=SECONDS, sample_rate=RATE, num_channels=2, buffer_size=BLOCK)
        times.append((time.process_time() - start) / SECONDS)
        # All of them, to the end.
        assert (abs(audio[0, -RATE // 10 :]).max() > 0.1) == (notes > 0)
    return statistics.median(times)


def main():
    state = json.loads(pathlib.Path(sys.argv[2]).read_text())
    for name, changes in SCENES.items():
        plugin = pedalboard.load_plugin(sys.argv[1], initialization_timeout=0.1)
        plugin.raw_state = juce_state.wrap_json(state | {"params": state["params"] | changes})
        idle = share(plugin, 0)
        print(f"{name}: host and idle plugin {idle:.2%}, {VOICES} voices {share(plugin, VOICES) - idle:.2%}")


if __name__ == "__main__":
    main()
