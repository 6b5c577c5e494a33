"""Files dragged out of a window, dropped on a program of another toolkit."""

import json
import pathlib
import signal
import time
import urllib.parse

import pytest

from programs import HERE, SYSTEM_PYTHON, Program, let_go, move

NAMES = ["bell.wav", "Tür schlägt 100% zu #2.wav", "\U0001f514 صوت 'x' & (y).wav"]


@pytest.fixture
def files(tmp_path) -> list[pathlib.Path]:
    """Files whose names are hard to write in an address."""
    folder = tmp_path / "with space"
    folder.mkdir()
    paths = [folder / name for name in NAMES]
    for path in paths:
        path.write_bytes(b"RIFF")
    return paths


@pytest.fixture
def open_programs(request, display, files):
    """Opens the window to drag from, with some of the files, and the one to drop on."""
    programs = []

    def open_both(count=len(NAMES), arguments=()):
        source = [str(request.config.getoption("--drag")), *map(str, files[:count])]
        programs.append(Program(display, source, "drag example", (20, 60)))
        target = [SYSTEM_PYTHON, str(HERE / "drop_window.py"), *arguments]
        programs.append(Program(display, target, "Drop here", (700, 400)))
        return programs

    yield open_both
    for program in programs:
        program.stop()


def press(display, source):
    """Presses the button in the window to drag from, and moves away from there."""
    x, y = source.center()
    display.run("xdotool", "mousemove", x, y)
    time.sleep(0.3)
    display.run("xdotool", "mousedown", "1")
    time.sleep(0.3)
    display.run("xdotool", "mousemove_relative", "20", "20")
    time.sleep(0.3)


@pytest.mark.parametrize("count", [1, len(NAMES)])
def test_files_arrive(display, open_programs, files, artifacts, count):
    source, target = open_programs(count)
    # Twice: the first drag must leave nothing behind that hinders the second.
    for _ in range(2):
        press(display, source)
        move(display, *target.center())
        display.screenshot(artifacts / f"drag-{count}.png")
        let_go(display)
        assert source.line() == "Dropped"
        drop = json.loads(target.line())
        lines = bytes.fromhex(drop["data"]).decode("ascii")
        assert lines.endswith("\r\n")
        assert lines.split("\r\n")[:-1] == drop["uris"]
        addresses = [urllib.parse.urlsplit(uri) for uri in drop["uris"]]
        assert all((address.scheme, address.netloc) == ("file", "") for address in addresses)
        assert [urllib.parse.unquote(address.path) for address in addresses] == [str(path) for path in files[:count]]


def test_escape_cancels(display, open_programs):
    source, target = open_programs()
    press(display, source)
    move(display, *target.center())
    display.run("xdotool", "keydown", "Escape")
    assert source.line() == "Cancelled"
    display.run("xdotool", "keyup", "Escape")
    let_go(display)
    time.sleep(1)
    assert target.is_silent()


def test_drops_on_nothing_and_on_its_own_window_are_refused(display, open_programs):
    source, target = open_programs()
    press(display, source)
    move(display, "640", "20")
    let_go(display)
    assert source.line() == "Refused"
    press(display, source)
    move(display, *target.center())
    move(display, *source.center())
    let_go(display)
    assert source.line() == "Refused"
    assert target.is_silent()


def test_a_program_that_does_not_take_files_gets_none(display, open_programs):
    source, target = open_programs(arguments=["refuse"])
    press(display, source)
    move(display, *target.center())
    let_go(display)
    assert source.line() == "Refused"
    assert target.is_silent()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_program_that_dies_or_hangs_does_not_hang_the_drag(display, open_programs, end):
    source, target = open_programs()
    press(display, source)
    move(display, *target.center())
    place = target.center()
    target.process.send_signal(end)
    time.sleep(0.5)
    move(display, *place)
    let_go(display)
    assert source.line(30) == "Refused"
    # And the next one works.
    target.process.kill()
    press(display, source)
    move(display, "640", "20")
    let_go(display)
    assert source.line() == "Refused"
    assert source.process.poll() is None


def test_a_file_that_is_gone_is_told(display, open_programs, files):
    source, target = open_programs()
    files[1].unlink()
    press(display, source)
    assert source.line() == f'"{files[1]}" is not there any more.'
    let_go(display)
    assert target.is_silent()
