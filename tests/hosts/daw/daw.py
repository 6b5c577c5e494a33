"""What sessions in whole DAWs have in common: a home, a sound system and a display of their own, and the steps.

Nothing of the user's is read or written.
"""

import argparse
import contextlib
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
SCREEN = (1600, 1000)
# Where the plugin's window is put: right of the tracks' names, below the first tracks, whose canvas is seen.
PLACE = (620, 280)
# In the plugin's window: the newest sound of the list. Its file is named after the prompt.
NEWEST = (0.85, 0.32)
SOUND = "small metal bell rings"
# What is compared: less than the time for which the key is held.
COMPARED_FRAMES = BLOCK * 50
# Sessions begun at most, where the sound system fails.
ATTEMPTS = 6


class Daw:
    """A DAW with a session in which a track plays SoundLoCD. Subclasses prepare both."""

    # Part of the title of its window, and of the frame that it puts around the plugin's.
    TITLE = FRAME = ""
    # Ports of the sound system.
    KEYBOARD: str | pathlib.Path
    OUTPUTS: list[str]
    # Where sounds are dropped, in pixels of the screen: on the canvas, left of the plugin's window.
    CANVAS = (440, 700)

    def __init__(self, home: pathlib.Path, display: Display, sound: SoundSystem):
        self.home, self.display, self.sound = home, display, sound
        self.process = None
        self.log = home / "log"
        display.environment |= sound.environment | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "SOUNDLOCD_LIBRARY": str(home / "library"),
            "SOUNDLOCD_PREFERENCES": str(home / "preferences.json"),
        }
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
            display.environment.pop(name, None)
        self.environment = display.environment

    def move(self, sound: SoundSystem, display: Display):
        """To another sound system and display, as on another day."""
        self.sound, self.display = sound, display
        self.environment |= sound.environment | {"DISPLAY": display.name}

    def run(self, *command) -> str:
        """Runs a program of the DAW's and returns what it prints."""
        result = subprocess.run(
            [str(part) for part in command], env=self.environment, capture_output=True, text=True, timeout=120
        )
        output = result.stdout + result.stderr
        assert result.returncode == 0, output
        return output

    def open(self):
        """Opens the session."""
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [str(part) for part in self.command],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.window = self.display.window(self.TITLE, timeout=60)
        self.window.place(0, 0, SCREEN[0], SCREEN[1] - 30)

    def plugin(self) -> Editor:
        """The plugin's window, which is open."""
        self.display.window(self.FRAME).place(*PLACE)
        # Its content; the tests of the window know their way in it.
        editor = Editor.__new__(Editor)
        editor.process = self.process
        editor.window = self.display.window("SoundLoCD", is_whole_title=True)
        assert editor.is_drawn(30), "the plugin's window stays empty"
        return editor

    def play(self) -> np.ndarray:
        return self.sound.play(self.KEYBOARD, self.OUTPUTS)

    def drag_out(self, editor: Editor):
        """Drags the sound from the plugin's list to the DAW's canvas."""
        left, top, width, height = editor.window.geometry()
        canvas = ((self.CANVAS[0] - left) / width, (self.CANVAS[1] - top) / height)
        editor.window.drag(NEWEST, canvas)
        time.sleep(5)

    def save(self):
        before = self.session.read_bytes()
        self.window.place(0, 0)
        self.window.key("ctrl+s")
        deadline = time.monotonic() + 30
        while self.session.read_bytes() == before:
            assert time.monotonic() < deadline, "nothing was saved"
            time.sleep(0.5)
        time.sleep(1)

    def quit(self):
        self.window.key("alt+F4")
        self.process.wait(60)

    @contextlib.contextmanager
    def watched(self, picture: pathlib.Path):
        """Stops it at the end, and keeps what there is to be seen and read where something failed."""
        try:
            yield
        except BaseException:
            self.display.screenshot(picture)
            print(self.log.read_text()[-3_000:] if self.log.exists() else "it was not started")
            print(self.sound.log()[-3_000:])
            raise
        finally:
            self.stop()

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


def until_jack_keeps_it(part):
    """What `part(sound, display)` returns; from its beginning again where JACK and the DAW misunderstood each other.

    Ardour 7.3 talks to JACK 1.9.21 from several threads at a time, and on some machines JACK soon reads nonsense then.
    """
    for left in reversed(range(ATTEMPTS)):
        with SoundSystem() as sound, Display(SCREEN) as display:
            try:
                return part(sound, display)
            except (AssertionError, subprocess.TimeoutExpired):
                if not left or not sound.is_confused():
                    raise
                print("JACK lost the DAW: once more", flush=True)


def main(daw_class, bundle: str, screenshot: str):
    """Types, generates, plays, saves, closes, opens again: the same key must give the same samples."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--bundle", type=pathlib.Path, default=ROOT / "target/bundled" / bundle)
    parser.add_argument("--screenshot", type=pathlib.Path, default=ROOT / "target/artifacts" / screenshot)
    arguments = parser.parse_args()
    picture = arguments.screenshot
    picture.parent.mkdir(parents=True, exist_ok=True)

    failed = picture.with_stem(picture.stem + "-failed")

    with tempfile.TemporaryDirectory() as folder:
        home, saved = pathlib.Path(folder, "home"), pathlib.Path(folder, "saved")

        def make(sound: SoundSystem, display: Display) -> tuple[Daw, np.ndarray]:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            daw = daw_class(home, display, sound, arguments.bundle.resolve())
            with daw.watched(failed):
                daw.open()
                editor = daw.open_plugin()
                editor.type_prompt()
                editor.press_return()
                editor.wait_until_still()
                heard = daw.play()
                peaks = np.abs(heard).max(axis=1)
                assert np.isfinite(heard).all() and (peaks > 0.05).all(), peaks
                print(f"generated and played: peaks {peaks}", flush=True)
                display.screenshot(picture)
                daw.drag_out(editor)
                display.screenshot(picture.with_stem(picture.stem + "-dropped"))
                daw.save()
                daw.quit()
                # The plugin's own state is not plain text: this is the file that was dropped.
                session = daw.session.read_text(errors="replace")
                assert SOUND in session, "the sound that was dropped is not in the session"
                print("dragged from the window to the canvas", flush=True)
                return daw, heard

        daw, before = until_jack_keeps_it(make)
        # With its FIFO, which only `cp` copies.
        subprocess.run(["cp", "-a", home, saved], check=True)

        def reopen(sound: SoundSystem, display: Display) -> np.ndarray:
            shutil.rmtree(home)
            subprocess.run(["cp", "-a", saved, home], check=True)
            daw.move(sound, display)
            with daw.watched(failed):
                daw.open()
                heard = daw.play()
                display.screenshot(picture.with_stem(picture.stem + "-reopened"))
                return heard

        after = until_jack_keeps_it(reopen)
    before, after = (from_its_start(heard)[:, :COMPARED_FRAMES] for heard in (before, after))
    np.testing.assert_array_equal(after, before)
    print(f"after reopening the session: the same {before.size} samples")
