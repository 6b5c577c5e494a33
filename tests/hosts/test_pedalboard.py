"""The VST3 plugin in pedalboard: renders with MIDI, rates, blocks, state, several instances."""

import json

import numpy as np
import pedalboard
import pytest

import juce_state
from sound import cents, pitch

MIDDLE_C = 60


def load(vst3: str, state: dict | None = None):
    # pedalboard plays notes until a new instrument sounds or this many seconds are over; ours is
    # silent until it has a clip.
    plugin = pedalboard.load_plugin(vst3, initialization_timeout=0.1)
    if state is not None:
        plugin.raw_state = juce_state.wrap_json(state)
    return plugin


def play(plugin, key=MIDDLE_C, rate=48_000, seconds=1.0, block=512) -> np.ndarray:
    notes = [(bytes([0x90, key, 100]), 0.0), (bytes([0x80, key, 0]), seconds)]
    return plugin(notes, duration=seconds, sample_rate=rate, num_channels=2, buffer_size=block)


def test_is_an_instrument(vst3):
    plugin = load(vst3)
    assert plugin.is_instrument
    assert plugin.name == "SoundLoCD"


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000, 192_000])
def test_middle_c_sounds_at_its_pitch(vst3, sine_state, rate):
    audio = play(load(vst3, sine_state), rate=rate)
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() > 0.1
    found = pitch(audio[0, rate // 10 :], rate)
    assert abs(cents(found, 440.0)) < 1.0, f"{found} Hz"


@pytest.mark.parametrize("key", [48, 59, 67, 72])
def test_other_keys_are_in_tune(vst3, sine_state, key):
    audio = play(load(vst3, sine_state), key=key)
    found = pitch(audio[0, 4_800:], 48_000)
    assert abs(cents(found, 440.0 * 2 ** ((key - MIDDLE_C) / 12))) < 1.0, f"{found} Hz"


@pytest.mark.parametrize("block", [1, 31, 64, 1_000, 8_192])
def test_block_size_does_not_change_the_sound(vst3, sine_state, block):
    reference = play(load(vst3, sine_state), seconds=0.25)
    audio = play(load(vst3, sine_state), seconds=0.25, block=block)
    np.testing.assert_allclose(audio, reference, atol=1e-5)


def test_a_project_comes_back_bit_for_bit(vst3, sine_state):
    before = load(vst3, sine_state)
    played = play(before)
    saved = before.raw_state
    del before
    after = load(vst3)
    after.raw_state = saved
    np.testing.assert_array_equal(play(after), played)
    assert juce_state.unwrap(after.raw_state) == juce_state.unwrap(saved)
    assert juce_state.field(juce_state.unwrap(saved), "kit") == juce_state.field(sine_state, "kit")


def test_bounces_are_bit_identical(vst3, sine_state):
    plugin = load(vst3, sine_state)
    np.testing.assert_array_equal(play(plugin), play(plugin))


def test_instances_are_independent(vst3, sine_state):
    empty, first, second = load(vst3), load(vst3, sine_state), load(vst3, sine_state)
    high = play(second, key=72)
    low = play(first, key=48)
    assert not play(empty).any()
    assert abs(cents(pitch(high[0, 4_800:], 48_000), 880.0)) < 1.0
    assert abs(cents(pitch(low[0, 4_800:], 48_000), 220.0)) < 1.0


def damaged(state: dict) -> dict[str, bytes]:
    text = json.dumps(state).encode()
    fields = state["fields"]
    return {
        "nothing": juce_state.wrap(b""),
        "zeros": juce_state.wrap(bytes(4_096)),
        "truncated": juce_state.wrap(text[: len(text) // 2]),
        "another plugin": juce_state.wrap(b'{"version": "1", "params": {"cutoff": {"f32": 1.0}}, "fields": {}}'),
        "no clip": juce_state.wrap_json(state | {"fields": fields | {"kit": '{"clips": ["SGVsbG8="], "pads": [0]}'}}),
        "no frame": b"not a state of anything",
    }


def test_damaged_states_are_survived(vst3, sine_state):
    reference = play(load(vst3, sine_state))
    for what, raw in damaged(sine_state).items():
        plugin = load(vst3)
        plugin.raw_state = raw
        assert np.isfinite(play(plugin, seconds=0.1)).all(), what
        plugin.raw_state = juce_state.wrap_json(sine_state)
        np.testing.assert_array_equal(play(plugin), reference, err_msg=what)
