"""SoundLoCD's VST3 in Ardour 7 (Debian 12): `target/hosts-venv/bin/python tests/hosts/daw/ardour.py`.

Scans it, puts it on a track, opens its window, types a prompt, generates, plays middle C, saves, closes, opens the
session again: the same key must give the same samples. Needs the packages `ardour`, `jackd2` and those of the
window's test. A session of its own in a home of its own: nothing of the user's is read or written.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent))

from display import Display  # noqa: E402
from sound_system import BLOCK, SoundSystem, from_its_start  # noqa: E402
from test_window import Editor  # noqa: E402

ROOT = HERE.parents[2]
ARDOUR = pathlib.Path("/usr/lib/ardour7")
# What Ardour's start script sets.
ENVIRONMENT = {
    "LD_LIBRARY_PATH": str(ARDOUR),
    "GTK_PATH": f"/etc/ardour7:{ARDOUR}",
    "ARDOUR_DATA_PATH": "/usr/share/ardour7",
    "ARDOUR_CONFIG_PATH": "/etc/ardour7",
    "ARDOUR_DLL_PATH": str(ARDOUR),
}
# Starts with JACK and asks nothing.
CONFIG = f"""<?xml version="1.0" encoding="UTF-8"?>
<Ardour>
  <Config>
    <Option name="try-autostart-engine" value="1"/>
    <Option name="discover-plugins-on-start" value="1"/>
  </Config>
  <Extra>
    <AudioMIDISetup>
      <EngineStates>
        <State backend="JACK" driver="" device="" input-device="" output-device="" sample-rate="0"
          buffer-size="{BLOCK}" n-periods="0" input-latency="0" output-latency="0" lm-input="" lm-output=""
          active="1" use-buffered-io="0" midi-option="" lru="1"><MIDIDevices/></State>
      </EngineStates>
    </AudioMIDISetup>
  </Extra>
</Ardour>
"""
SCREEN = (1600, 1000)
# In Ardour's window when it fills the screen: the track's name, and the plugin in its strip at the left.
TRACK, PLUGIN = (0.035, 0.355), (0.037, 0.175)
# Where the plugin's window is put: right of the tracks' names, below the track, of whose canvas some is left to see.
PLACE = (620, 280)


class Ardour:
    """Ardour with a session of its own, in a home of its own."""

    def __init__(self, home: pathlib.Path, vst3: pathlib.Path, display: Display, sound: SoundSystem):
        self.display = display
        self.process = None
        self.session = home / "bell/bell.ardour"
        shutil.copytree(vst3, home / ".vst3" / vst3.name)
        settings = home / ".config/ardour7"
        settings.mkdir(parents=True)
        (settings / "config").write_text(CONFIG)
        # Its greeting at the very first start was seen.
        (settings / ".a7").touch()
        (home / ".local/share").mkdir(parents=True)
        display.environment |= sound.environment | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "SOUNDLOCD_LIBRARY": str(home / "library"),
            "SOUNDLOCD_PREFERENCES": str(home / "preferences.json"),
        }
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
            display.environment.pop(name, None)
        self.environment = display.environment | ENVIRONMENT
        scan = self._run(ARDOUR / "ardour-vst3-scanner", "-f", "-v", home / ".vst3" / vst3.name)
        assert "Found Plugin: SoundLoCD" in scan, scan
        self.environment["SESSION"] = str(self.session.parent)
        self._run(ARDOUR / "luasession", HERE / "ardour.lua")
        assert self.session.is_file()

    def _run(self, *command) -> str:
        result = subprocess.run(
            [str(part) for part in command], env=self.environment, capture_output=True, text=True, timeout=120
        )
        output = result.stdout + result.stderr
        assert result.returncode == 0, output
        return output

    def open(self):
        """Opens the session."""
        program = next(ARDOUR.glob("ardour-7*"))
        self.log = open(self.session.parent / "log", "a")
        self.process = subprocess.Popen(
            [str(program), "-a", "-n", str(self.session)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.window = self.display.window("bell - Ardour", timeout=60)
        self.window.place(0, 0, SCREEN[0], SCREEN[1] - 30)

    def open_plugin(self) -> Editor:
        """Opens the plugin's window as a musician does: by a double click on it in the track's strip."""
        self.window.click(*TRACK)
        self.window.key("shift+e")
        time.sleep(2)
        self.window.click(*PLUGIN, times=2)
        return self.plugin()

    def plugin(self) -> Editor:
        """The plugin's window, which is open."""
        self.display.window("SoundLoCD: ").place(*PLACE)
        # Its content; the tests of the window know their way in it.
        editor = Editor.__new__(Editor)
        editor.process = self.process
        editor.window = self.display.window("SoundLoCD", is_whole_title=True)
        assert editor.is_drawn(30), "the plugin's window stays empty"
        return editor

    def save_and_quit(self):
        before = self.session.read_bytes()
        self.window.place(0, 0)
        self.window.key("ctrl+s")
        deadline = time.monotonic() + 30
        while self.session.read_bytes() == before:
            assert time.monotonic() < deadline, "Ardour saved nothing"
            time.sleep(0.5)
        self.window.key("ctrl+q")
        self.process.wait(60)

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


def play(sound: SoundSystem) -> np.ndarray:
    return sound.play("SoundLoCD/midi_in", ["Master/audio_out 1", "Master/audio_out 2"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vst3", type=pathlib.Path, default=ROOT / "target/bundled/SoundLoCD.vst3")
    parser.add_argument("--screenshot", type=pathlib.Path, default=ROOT / "target/artifacts/ardour.png")
    arguments = parser.parse_args()
    arguments.screenshot.parent.mkdir(parents=True, exist_ok=True)

    with tempfile.TemporaryDirectory() as home, SoundSystem() as sound, Display(SCREEN) as display:
        ardour = Ardour(pathlib.Path(home), arguments.vst3.resolve(), display, sound)
        try:
            ardour.open()
            editor = ardour.open_plugin()
            editor.type_prompt()
            editor.press_return()
            editor.wait_until_still()
            before = play(sound)
            assert np.isfinite(before).all() and (np.abs(before).max(axis=1) > 0.05).all(), np.abs(before).max(axis=1)
            print(f"generated and played: peaks {np.abs(before).max(axis=1)}", flush=True)
            # A step that drags the sound from the list (FIRST_SOUND in test_window.py's coordinates) to the canvas
            # fits here, with `editor.window.drag`, whose ends may lie outside of the window.
            display.screenshot(arguments.screenshot)
            ardour.save_and_quit()
            ardour.open()
            after = play(sound)
            # Ardour opens the plugin's window again by itself.
            ardour.plugin()
            display.screenshot(arguments.screenshot.with_stem(arguments.screenshot.stem + "-reopened"))
            ardour.save_and_quit()
        except BaseException:
            display.screenshot(arguments.screenshot.with_stem(arguments.screenshot.stem + "-failed"))
            print((ardour.session.parent / "log").read_text()[-3_000:])
            raise
        finally:
            ardour.stop()
    length = BLOCK * 60
    before, after = (from_its_start(heard)[:, :length] for heard in (before, after))
    np.testing.assert_array_equal(after, before)
    print(f"after reopening the session: the same {before.size} samples")


if __name__ == "__main__":
    main()
