"""The first minute with SoundLoCD, in Ardour, with the mouse alone: `target/hosts-venv/bin/python tests/hosts/daw/tour.py`.

Opens the window, clicks a prompt, hears the sound on the keys, makes a relative of it, puts that on another pad, and drags it onto the
canvas. Leaves a picture of each step, and prints how long the steps took. Needs what `ardour.py` needs.
"""

import argparse
import pathlib
import tempfile
import time

import daw
from ardour import Ardour
from display import Display
from sound_system import SoundSystem

# In the plugin's window: the second of the prompts to click, a white key, Vary, the newest sound of two, the fourth pad.
EXAMPLE, KEY, VARY = (0.37, 0.405), (0.52, 0.94), (0.103, 0.642)
FOURTH_PAD = (0.233, 0.703)


def main():
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--bundle", type=pathlib.Path, default=daw.ROOT / "target/bundled/SoundLoCD.vst3")
    parser.add_argument("--pictures", type=pathlib.Path, default=daw.ROOT / "target/artifacts")
    arguments = parser.parse_args()
    arguments.pictures.mkdir(parents=True, exist_ok=True)

    def session(sound: SoundSystem, display: Display):
        with tempfile.TemporaryDirectory() as home:
            ardour = Ardour(pathlib.Path(home), display, sound, arguments.bundle.resolve())
            with ardour.watched(arguments.pictures / "tour-failed.png"):
                first_minute(ardour)

    def first_minute(ardour: Ardour):
        ardour.open()
        editor = ardour.open_plugin()
        start, waited = time.monotonic(), 0.0

        def step(number: int, name: str):
            seconds = time.monotonic() - start - waited
            ardour.display.screenshot(arguments.pictures / f"tour-{number}-{name}.png")
            print(f"{seconds:5.1f} s: {name}", flush=True)

        def until_still():
            """Three of its seconds are there to be sure that nothing moves any more."""
            nonlocal waited
            editor.wait_until_still()
            waited += 3

        step(1, "opened")
        before = editor.window.pixels()
        editor.window.click(*EXAMPLE)
        assert editor.changes(before, 10), "a click on a prompt changed nothing"
        until_still()
        step(2, "made")
        editor.window.hold(*KEY, while_held=lambda: step(3, "played"))
        until_still()
        editor.window.click(*VARY)
        until_still()
        step(4, "varied")
        editor.window.drag(daw.NEWEST, FOURTH_PAD)
        step(5, "on-a-pad")
        ardour.drag_out(editor)
        step(6, "dropped")
        ardour.save()
        assert [path for path in ardour.home.glob("library/Sounds/*.wav")], "the library is empty"

    daw.until_jack_keeps_it(session)


if __name__ == "__main__":
    main()
