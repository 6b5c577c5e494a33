"""An X display of its own for a test: Xvfb, a window manager, a settings daemon, and a user's hands."""

import os
import pathlib
import re
import subprocess
import tempfile
import time


class Display:
    """Use as a context manager. Everything it starts is stopped at the end."""

    def __init__(self, size: tuple[int, int] = (1280, 900)):
        self.size = size

    def __enter__(self) -> "Display":
        self._processes = []
        self._folder = tempfile.TemporaryDirectory()
        # Xvfb picks a free display itself and tells its number through a pipe.
        read, write = os.pipe()
        width, height = self.size
        self._start(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"],
            pass_fds=[write],
        )
        os.close(write)
        with os.fdopen(read) as pipe:
            self.name = ":" + pipe.readline().strip()
        # Software rendering, whatever the machine has.
        self.environment = os.environ | {"DISPLAY": self.name, "LIBGL_ALWAYS_SOFTWARE": "1"}
        self.environment.pop("WAYLAND_DISPLAY", None)
        settings = pathlib.Path(self._folder.name, "xsettings")
        settings.write_text('Net/ThemeName "Adwaita"\n')
        self._start(["openbox"])
        self._start(["xsettingsd", "-c", str(settings)])
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        self._folder.cleanup()

    def _start(self, command, **options):
        environment = getattr(self, "environment", os.environ)
        quiet = subprocess.DEVNULL
        self._processes.append(
            subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, **options)
        )

    def run(self, *command: str) -> str:
        """Runs an X program on this display and returns what it prints."""
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30)
        assert result.returncode == 0, f"{command}: {result.stderr}"
        return result.stdout

    def window(self, title: str, timeout: float = 30, is_whole_title: bool = False) -> "Window":
        """Waits for a window whose title contains `title`, or is it."""
        deadline = time.monotonic() + timeout
        tree = ""
        while time.monotonic() < deadline:
            try:
                tree = self.run("xwininfo", "-root", "-tree")
            except AssertionError as error:
                # A window that goes away while the tree is read is an error to xwininfo.
                tree = str(error)
            for line in tree.splitlines():
                match = re.match(r'\s*(0x[0-9a-f]+) "([^"]*)".*?(\d+)x(\d+)[+-]', line)
                if not match or int(match[3]) <= 100:
                    continue
                if match[2] == title or (not is_whole_title and title.lower() in match[2].lower()):
                    return Window(self, match[1])
            time.sleep(0.2)
        raise AssertionError(f"no window {title!r} within {timeout} s:\n{tree}")

    def screenshot(self, path: pathlib.Path):
        """Keeps the whole screen as a PNG."""
        self.run("import", "-window", "root", str(path))


class Window:
    """A window on a [`Display`]; positions are fractions of its width and height."""

    def __init__(self, display: Display, identifier: str):
        self.display = display
        self.identifier = identifier
        time.sleep(1.0)

    def geometry(self) -> tuple[int, int, int, int]:
        """Left, top, width, height on the screen."""
        text = self.display.run("xwininfo", "-id", self.identifier)
        find = lambda name: int(re.search(rf"{name}:\s+(-?\d+)", text)[1])
        return (
            find("Absolute upper-left X"),
            find("Absolute upper-left Y"),
            find("Width"),
            find("Height"),
        )

    def point(self, x: float, y: float, geometry: tuple[int, int, int, int] | None = None):
        """Moves the mouse there; `geometry` as it was, if the window stays."""
        left, top, width, height = geometry or self.geometry()
        self.display.run("xdotool", "mousemove", str(round(left + x * width)), str(round(top + y * height)))

    def click(self, x: float, y: float, times: int = 1, then: list[str] = ()):
        """`then` is what xdotool does right after."""
        self.point(x, y)
        time.sleep(0.2)
        self.display.run("xdotool", "click", "--repeat", str(times), "--delay", "120", "1", *then)
        time.sleep(0.3)

    def hold(self, x: float, y: float, while_held):
        """Holds the first button for half a second, and for as long as `while_held()` takes."""
        self.point(x, y)
        self.display.run("xdotool", "mousedown", "1")
        time.sleep(0.5)
        while_held()
        self.display.run("xdotool", "mouseup", "1")
        time.sleep(0.3)

    def open_menu(self, x: float, y: float):
        """Clicks with the other button."""
        self.point(x, y)
        time.sleep(0.2)
        self.display.run("xdotool", "click", "3")
        time.sleep(0.3)

    def place(self, left: int, top: int, width: int | None = None, height: int | None = None):
        """Moves it to the front and there, and gives it that size."""
        self.display.run("xdotool", "windowactivate", self.identifier)
        self.display.run("xdotool", "windowmove", self.identifier, str(left), str(top))
        if width and height:
            self.display.run("xdotool", "windowsize", self.identifier, str(width), str(height))
        time.sleep(1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]):
        """Drags with the first button, as slowly as a hand."""
        geometry = self.geometry()
        for step in range(9):
            x, y = (a + (b - a) * step / 8 for a, b in zip(start, end))
            self.point(x, y, geometry)
            time.sleep(0.15)
            if step == 0:
                self.display.run("xdotool", "mousedown", "1")
                time.sleep(0.3)
        self.display.run("xdotool", "mouseup", "1")
        time.sleep(0.5)

    def type(self, text: str):
        self.display.run("xdotool", "type", "--delay", "50", text)
        time.sleep(0.3)

    def key(self, name: str):
        self.display.run("xdotool", "key", "--delay", "50", name)
        time.sleep(0.3)

    def pixels(self) -> bytes:
        """The window's picture, raw: for comparisons only."""
        command = ["import", "-window", self.identifier, "-depth", "8", "rgb:-"]
        return subprocess.run(
            command, env=self.display.environment, capture_output=True, timeout=30, check=True
        ).stdout
