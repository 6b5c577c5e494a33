"""SoundLoCD's VST3 in Ardour 7 (Debian 12): `target/hosts-venv/bin/python tests/hosts/daw/ardour.py`.

Ardour scans it; a track plays it; its window is opened, and what `daw.main` says is done. Needs the packages `ardour`,
`jackd2` and those of the window's test.
"""

import pathlib
import shutil
import time

import daw
from sound_system import BLOCK
from test_window import Editor

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
# In its window: the track's name, and the plugin in the track's strip once that is shown at the left.
TRACK, PLUGIN = (0.035, 0.355), (0.037, 0.175)


class Ardour(daw.Daw):
    """Ardour, whose session is made by its own Lua."""

    TITLE, FRAME = "bell - Ardour", "SoundLoCD: "
    KEYBOARD, OUTPUTS = "SoundLoCD/midi_in", ["Master/audio_out 1", "Master/audio_out 2"]

    def __init__(self, home, display, sound, vst3):
        super().__init__(home, display, sound)
        shutil.copytree(vst3, home / ".vst3" / vst3.name)
        settings = home / ".config/ardour7"
        settings.mkdir(parents=True)
        (settings / "config").write_text(CONFIG)
        # Its greeting at the very first start was seen.
        (settings / ".a7").touch()
        (home / ".local/share").mkdir(parents=True)
        self.session = home / "bell/bell.ardour"
        self.environment = display.environment | ENVIRONMENT | {"SESSION": str(self.session.parent)}
        self.command = [next(ARDOUR.glob("ardour-7*")), "-a", "-n", self.session]
        scan = self.run(ARDOUR / "ardour-vst3-scanner", "-f", "-v", home / ".vst3" / vst3.name)
        assert "Found Plugin: SoundLoCD" in scan, scan
        self.run(ARDOUR / "luasession", daw.HERE / "ardour.lua")
        assert self.session.is_file()

    def open(self):
        # Each time: when it quits it writes its own.
        (self.home / ".config/ardour7/config").write_text(CONFIG)
        super().open()

    def open_plugin(self) -> Editor:
        """Opens the plugin's window as a musician does: by a double click on it in the track's strip."""
        self.window.click(*TRACK)
        self.window.key("shift+e")
        time.sleep(2)
        self.window.click(*PLUGIN, times=2)
        return self.plugin()

    def quit(self):
        # It asks whether that is meant.
        self.window.key("alt+F4")
        time.sleep(2)
        self.window.key("Return")
        self.process.wait(60)


if __name__ == "__main__":
    daw.main(Ardour, "SoundLoCD.vst3", "ardour.png")
