"""The VST3 plugin in DawDreamer: renders, automation, state."""

import dawdreamer
import numpy as np
import pytest

import juce_state
from sound import cents, pitch

MIDDLE_C = 60


class Session:
    """An engine with the plugin as its only track."""

    def __init__(self, vst3: str, rate: int, block: int):
        self.engine = dawdreamer.RenderEngine(rate, block)
        self.plugin = self.engine.make_plugin_processor("soundlocd", vst3)
        self.engine.load_graph([(self.plugin, [])])

    def open(self, path) -> "Session":
        self.plugin.load_state(str(path))
        return self

    def play(self, key=MIDDLE_C, seconds=1.0) -> np.ndarray:
        self.plugin.clear_midi()
        self.plugin.add_midi_note(key, 100, 0.0, seconds)
        self.engine.render(seconds)
        return self.engine.get_audio()


@pytest.fixture(scope="module")
def project(sine_state, tmp_path_factory):
    """The sine's state as a file that JUCE hosts load."""
    path = tmp_path_factory.mktemp("dawdreamer") / "sine.state"
    path.write_bytes(juce_state.wrap_json(sine_state))
    return path


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("block", [64, 512, 2_048])
def test_middle_c_sounds_at_its_pitch(vst3, project, rate, block):
    audio = Session(vst3, rate, block).open(project).play()
    assert np.abs(audio).max() > 0.1
    found = pitch(audio[0, rate // 10 :], rate)
    assert abs(cents(found, 440.0)) < 1.0, f"{found} Hz"


def test_a_project_comes_back_bit_for_bit(vst3, project, tmp_path):
    before = Session(vst3, 48_000, 512).open(project)
    played = before.play()
    before.plugin.save_state(str(tmp_path / "saved.state"))
    after = Session(vst3, 48_000, 512).open(tmp_path / "saved.state")
    np.testing.assert_array_equal(after.play(), played)


def test_parameters_are_listed_by_name(vst3):
    session = Session(vst3, 48_000, 512)
    names = [parameter["name"] for parameter in session.plugin.get_parameters_description()]
    assert len(set(names)) == len(names)
    assert any("gain" in name.lower() or "volume" in name.lower() for name in names), names


def test_gain_automation_is_heard(vst3, project):
    session = Session(vst3, 48_000, 512).open(project)
    gain = next(
        parameter["index"]
        for parameter in session.plugin.get_parameters_description()
        if parameter["name"].lower() in ("gain", "volume")
    )
    # Down to the bottom half-way through.
    curve = np.concatenate([np.ones(24_000), np.zeros(24_000)]).astype(np.float32)
    session.plugin.set_automation(gain, curve)
    audio = session.play()
    assert np.abs(audio[:, 30_000:]).max() < 0.1 * np.abs(audio[:, :20_000]).max()


def test_two_tracks_in_one_session(vst3, project):
    engine = dawdreamer.RenderEngine(48_000, 512)
    low = engine.make_plugin_processor("low", vst3)
    high = engine.make_plugin_processor("high", vst3)
    for plugin, key in ((low, 48), (high, 72)):
        plugin.load_state(str(project))
        plugin.add_midi_note(key, 100, 0.0, 1.0)
    engine.load_graph([(low, []), (high, []), (engine.make_add_processor("mix", [1.0, 1.0]), ["low", "high"])])
    engine.render(1.0)
    spectrum = np.abs(np.fft.rfft(engine.get_audio()[0, :48_000]))
    loudest = set(np.argsort(spectrum)[-2:])
    assert loudest <= {219, 220, 221, 879, 880, 881}, loudest
