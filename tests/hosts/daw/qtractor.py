"""SoundLoCD's CLAP in qtractor 0.9.31 (Debian 12): `target/hosts-venv/bin/python tests/hosts/daw/qtractor.py`.

A track plays it; its window is opened, and what `daw.main` says is done. Needs the packages `qtractor`, `jackd2`,
`libasound2-dev`, a C compiler and the packages of the window's test.
"""

import os

import daw
from test_window import Editor

# In the window, in the track's head: the plugin.
PLUGIN = (0.137, 0.192)


class Qtractor(daw.Daw):
    """qtractor, with an ALSA sequencer whether the kernel has one or not: see `sequencer.c`."""

    TITLE, FRAME = "bell.qtr", "SoundLoCD - "
    OUTPUTS = ["Qtractor:Master/out_1", "Qtractor:Master/out_2"]

    def __init__(self, home, display, sound, clap):
        super().__init__(home, display, sound)
        (home / ".clap").mkdir()
        plugin = home / ".clap" / clap.name
        plugin.symlink_to(clap)
        self.session = home / "bell.qtr"
        self.session.write_text((daw.HERE / "qtractor.qtr").read_text().replace("SOUNDLOCD_CLAP", str(plugin)))
        self.KEYBOARD = home / "keyboard"
        os.mkfifo(self.KEYBOARD)
        sequencer = home / "sequencer.so"
        self.run("cc", "-shared", "-fPIC", "-O1", "-o", sequencer, daw.HERE / "sequencer.c")
        self.environment = display.environment | {"MIDI_FIFO": str(self.KEYBOARD), "LD_PRELOAD": str(sequencer)}
        self.command = ["qtractor", self.session]

    def open_plugin(self) -> Editor:
        """Opens the plugin's window as a musician does: by a double click on it in the track."""
        self.window.click(*PLUGIN, times=2)
        return self.plugin()


if __name__ == "__main__":
    daw.main(Qtractor, "SoundLoCD.clap", "qtractor.png")
