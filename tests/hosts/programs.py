"""Programs with a window that a test runs beside the plugin's, and the hands that drag between them."""

import pathlib
import queue
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).parent
# Debian's Python, which python3-gi belongs to.
SYSTEM_PYTHON = "/usr/bin/python3"
# Long enough for a slow machine that also compiles.
PATIENCE_SECONDS = 60


class Program:
    """A program with a window, and the lines that it prints."""

    def __init__(self, display, command, title, place):
        self.process = subprocess.Popen(
            command, env=display.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.window = display.window(title)
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"{error}\n{self.process.stderr.read()}") from None
        display.run("xdotool", "windowmove", self.window.identifier, *map(str, place))
        time.sleep(0.5)

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self, timeout: float = PATIENCE_SECONDS) -> str:
        """The next line that it prints."""
        return self._lines.get(timeout=timeout)

    def is_silent(self) -> bool:
        return self._lines.empty()

    def center(self) -> tuple[str, str]:
        left, top, width, height = self.window.geometry()
        return str(left + width // 2), str(top + height // 2)

    def stop(self):
        self.process.kill()
        self.process.communicate()


def move(display, x, y):
    """Moves the pointer there, and on by a little: as a hand does."""
    display.run("xdotool", "mousemove", x, y)
    time.sleep(0.3)
    display.run("xdotool", "mousemove_relative", "3", "3")
    time.sleep(0.5)


def let_go(display):
    display.run("xdotool", "mouseup", "1")
