"""Sounds dragged out of the plugin's window into another program, and dropped on it from there."""

import json
import pathlib
import time
import urllib.parse
import wave

import numpy
import pytest

import juce_state
from programs import HERE, SYSTEM_PYTHON, Program, let_go, move
from test_window import Editor

# The first sound in the list, the first and the fifth pad, as fractions of the window.
FIRST_SOUND = (0.87, 0.27)
PADS = {1: (0.035, 0.703), 5: (0.284, 0.703)}
# From one sound in the list to the next.
ROW = 0.1
RATE = 22_050


@pytest.fixture
def places(display, tmp_path) -> dict[str, pathlib.Path]:
    """Where the plugin keeps what it keeps: nothing of the user's is touched."""
    library = tmp_path / "library"
    display.environment |= {
        "SOUNDLOCD_LIBRARY": str(library),
        "SOUNDLOCD_PREFERENCES": str(tmp_path / "preferences.json"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    return {"library": library, "state": tmp_path / "state"}


@pytest.fixture
def editor(display, vst3, sine_state, places, tmp_path):
    """The window with a sine of 440 Hz in the list and on the first pad."""
    before = tmp_path / "before"
    before.write_bytes(juce_state.wrap_json(sine_state))
    editor = Editor(display, vst3, places["state"], before)
    display.run("xdotool", "windowmove", _top(display, editor), "0", "0")
    time.sleep(1)
    yield editor
    if editor.process.poll() is None:
        editor.process.kill()
        editor.process.communicate()


def _top(display, editor) -> str:
    """The host's window around the editor."""
    identifier = editor.window.identifier
    for _ in range(5):
        tree = display.run("xwininfo", "-id", identifier, "-tree")
        parent = next(line for line in tree.splitlines() if "Parent window id" in line).split()[3]
        root = next(line for line in tree.splitlines() if "Root window id" in line).split()[3]
        if parent == root:
            break
        identifier = parent
    return identifier


@pytest.fixture
def target(display, editor):
    """The window to drop on, below the editor."""
    target = Program(display, [SYSTEM_PYTHON, str(HERE / "drop_window.py")], "Drop here", (840, 720))
    yield target
    target.stop()


def take_hold(display, editor, start):
    """Presses the button on a place of the editor's window and pulls a little."""
    left, top, width, height = editor.window.geometry()
    display.run("xdotool", "mousemove", str(round(left + start[0] * width)), str(round(top + start[1] * height)))
    time.sleep(0.3)
    display.run("xdotool", "mousedown", "1")
    time.sleep(0.3)
    for _ in range(3):
        display.run("xdotool", "mousemove_relative", "--", "-8", "4")
        time.sleep(0.15)


def drop_on(display, target, artifacts, name) -> list[pathlib.Path]:
    """Drags what is held on to the other window and lets go; the files that arrive there."""
    x, y = target.center()
    y = str(min(int(y), display.size[1] - 40))
    move(display, x, y)
    move(display, x, y)
    display.screenshot(artifacts / name)
    let_go(display)
    drop = json.loads(target.line())
    return [pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path)) for uri in drop["uris"]]


def samples(path) -> numpy.ndarray:
    """The samples of a mono 24-bit WAV file, as integers."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 3, RATE)
        data = numpy.frombuffer(file.readframes(file.getnframes()), numpy.uint8).reshape(-1, 3).astype(numpy.int32)
    return ((data[:, 0] << 8 | data[:, 1] << 16 | data[:, 2] << 24) >> 8).astype(numpy.int64)


def root_key(path) -> int | None:
    """The MIDI unity note in the chunk `smpl`, if there is one."""
    data = path.read_bytes()
    at = data.find(b"smpl")
    return None if at < 0 else int.from_bytes(data[at + 8 + 12 : at + 8 + 16], "little")


def sine() -> numpy.ndarray:
    """What `sine_state` holds: two seconds of 440 Hz at half of full scale."""
    return numpy.round(0.5 * numpy.sin(2 * numpy.pi * 440 * numpy.arange(2 * RATE) / RATE) * 2**23).astype(numpy.int64)


@pytest.mark.parametrize("source", ["list", "pad"])
def test_a_sound_is_dragged_out_as_a_file(display, editor, target, places, artifacts, source):
    for _ in range(2):
        take_hold(display, editor, FIRST_SOUND if source == "list" else PADS[1])
        (path,) = drop_on(display, target, artifacts, f"drag-out-{source}.png")
        assert path.is_file() and places["library"] in path.parents
        assert numpy.abs(samples(path) - sine()).max() <= 1
        assert root_key(path) == (None if source == "list" else 60)
    # The second drag found the file of the first.
    assert len(list(places["library"].rglob("*.wav"))) == 1
    # The window's own buttons work on, and nothing hangs: the sound is still on its pad alone.
    editor.window.click(*PADS[5])
    state, peak = editor.close()
    kit = juce_state.field(state, "kit")
    assert [pad for pad, clip in enumerate(kit["pads"]) if clip is not None] == [0]
    assert kit["selected"] == 4
    assert peak > 0.05


def test_a_drag_between_pads_leaves_no_file(display, editor, places):
    editor.window.drag(PADS[1], PADS[5])
    state, _ = editor.close()
    kit = juce_state.field(state, "kit")
    assert [pad for pad, clip in enumerate(kit["pads"]) if clip is not None] == [4]
    assert not list(places["library"].rglob("*.wav"))


def record(path, seed) -> numpy.ndarray:
    """Writes half a second of noise as other programs do, and returns its samples."""
    levels = numpy.random.default_rng(seed).integers(-(2**22), 2**22, RATE // 2)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(RATE)
        file.writeframes(b"".join(int(level).to_bytes(3, "little", signed=True) for level in levels))
    return levels


def drop_in(request, display, editor, files, place, artifacts, name):
    """Drags files from another window to a place of the editor's, over its middle.

    pedalboard's window takes all drops itself and does nothing with them: it is made one that takes none, so that the
    source looks for one that does within it, as with hosts that leave drops to the plugin.
    """
    display.run("xprop", "-id", display.window("Pedalboard").identifier, "-remove", "XdndAware")
    command = [str(request.config.getoption("--drag")), *map(str, files)]
    source = Program(display, command, "drag example", (40, 740))
    try:
        left, top, width, height = editor.window.geometry()
        x, y = source.center()
        display.run("xdotool", "mousemove", x, str(min(int(y), display.size[1] - 40)))
        time.sleep(0.3)
        display.run("xdotool", "mousedown", "1")
        time.sleep(0.3)
        move(display, str(left + width // 2), str(top + height // 2))
        time.sleep(1)
        display.screenshot(artifacts / f"{name}-held.png")
        for _ in range(2):
            move(display, str(round(left + place[0] * width)), str(round(top + place[1] * height)))
        display.screenshot(artifacts / f"{name}-aimed.png")
        let_go(display)
        assert source.line() == "Dropped"
    finally:
        source.stop()
    editor.wait_until_still()
    display.screenshot(artifacts / f"{name}-done.png")


def test_a_file_dropped_on_a_pad_is_its_sound(request, display, editor, target, artifacts, tmp_path):
    recording = tmp_path / "Glass_hit 3.wav"
    levels = record(recording, 5)
    drop_in(request, display, editor, [recording], PADS[5], artifacts, "drop-in")
    # Out again: what arrives there is what went in.
    take_hold(display, editor, PADS[5])
    (path,) = drop_on(display, target, artifacts, "drag-out-dropped.png")
    numpy.testing.assert_array_equal(samples(path), levels)
    assert "Glass hit 3" in path.name
    state, _ = editor.close()
    kit = juce_state.field(state, "kit")
    assert [pad for pad, clip in enumerate(kit["pads"]) if clip is not None] == [0, 4]
    assert len(kit["clips"]) == 2 and kit["selected"] == 4


def test_several_sounds_are_chosen_dragged_and_removed(request, display, editor, target, artifacts, tmp_path):
    files = [tmp_path / name for name in ("one.wav", "two.wav")]
    levels = [record(path, seed) for seed, path in enumerate(files)]
    drop_in(request, display, editor, files, (0.4, 0.4), artifacts, "drop-two")
    for modifier, row in (("ctrl", 0), ("shift", 2)):
        display.run("xdotool", "keydown", modifier)
        editor.window.click(FIRST_SOUND[0], FIRST_SOUND[1] + row * ROW)
        display.run("xdotool", "keyup", modifier)
    take_hold(display, editor, (FIRST_SOUND[0], FIRST_SOUND[1] + ROW))
    paths = drop_on(display, target, artifacts, "drag-out-several.png")
    # In the order of the list: the newest first.
    for path, expected in zip(paths, [levels[1], levels[0], sine()], strict=True):
        assert numpy.abs(samples(path) - expected).max() <= 1
    editor.window.key("Delete")
    display.screenshot(artifacts / "removed.png")
    state, _ = editor.close()
    kit = juce_state.field(state, "kit")
    # The sounds that pads play are there still, the sine is not.
    assert kit["tray"] == [] and len(kit["clips"]) == 2
    assert [pad for pad, clip in enumerate(kit["pads"]) if clip is not None] == [0, 1]
