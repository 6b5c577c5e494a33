"""A bounce is what was heard: live-like small blocks, offline's large ones, and two hosts give the same samples."""

import dawdreamer
import numpy as np
import pytest

import juce_state
from test_pedalboard import load

RATE = 48_000
SECONDS = 1.0
# Key, velocity, start and length: overlapping, a key struck again, and all times whole frames in binary fractions of a
# second, so that no host has to round them.
PHRASE = [(60, 110, 0.0, 0.5), (67, 70, 0.125, 0.4375), (53, 127, 0.3125, 0.21875), (60, 90, 0.59375, 0.25)]


def in_pedalboard(plugin, block: int) -> np.ndarray:
    events = []
    for key, velocity, start, length in PHRASE:
        events.append((bytes([0x90, key, velocity]), start))
        events.append((bytes([0x80, key, 0]), start + length))
    events.sort(key=lambda event: event[1])
    return plugin(events, duration=SECONDS, sample_rate=RATE, num_channels=2, buffer_size=block)


def in_dawdreamer(vst3: str, state, block: int) -> np.ndarray:
    engine = dawdreamer.RenderEngine(RATE, block)
    plugin = engine.make_plugin_processor("soundlocd", vst3)
    engine.load_graph([(plugin, [])])
    plugin.load_state(str(state))
    for note in PHRASE:
        plugin.add_midi_note(*note)
    engine.render(SECONDS)
    first = engine.get_audio()
    engine.render(SECONDS)
    np.testing.assert_array_equal(engine.get_audio(), first, err_msg="the second bounce")
    return first


@pytest.fixture(params=["plain", "shaped"])
def project(request, sine_state) -> dict:
    """The sine as it is; and on its way through a loop, a filter and an envelope."""
    if request.param == "plain":
        return sine_state
    shape = {
        "attack": {"f32": 0.02},
        "decay": {"f32": 0.2},
        "sustain": {"f32": 0.5},
        "release": {"f32": 0.3},
        "mode": {"string": "loop"},
        "filter": {"string": "low_pass"},
        "cutoff": {"f32": 700.0},
        "resonance": {"f32": 0.6},
        "tune": {"f32": 0.37},
        "pan": {"f32": -0.4},
    }
    assert shape.keys() <= sine_state["params"].keys()
    return sine_state | {"params": sine_state["params"] | shape}


def test_every_block_size_gives_the_same_samples(vst3, project):
    plugin = load(vst3, project)
    heard = in_pedalboard(plugin, 64)
    assert np.abs(heard).max() > 0.1
    for block in (64, 1, 333, 512, 8_192):
        np.testing.assert_array_equal(in_pedalboard(plugin, block), heard, err_msg=f"blocks of {block}")
    np.testing.assert_array_equal(in_pedalboard(load(vst3, project), 4_096), heard, err_msg="another instance")


def test_two_hosts_give_the_same_samples(vst3, project, tmp_path):
    plugin = load(vst3, project)
    reference = in_pedalboard(plugin, 512)
    assert np.abs(reference).max() > 0.1
    # As pedalboard has it now: it reads all parameters as numbers in 0..=1 of 32 bits and sends them back, by which
    # 0.37 semitones become 0.370003.
    state = tmp_path / "state"
    state.write_bytes(plugin.raw_state)
    for block in (64, 512, 2_048):
        bounce = in_dawdreamer(vst3, state, block)
        np.testing.assert_array_equal(bounce[:, : reference.shape[1]], reference, err_msg=f"blocks of {block}")
