"""Options and fixtures of the tests in Python hosts. `cargo xtask test` gives the options."""

import json
import os
import pathlib
import re
import tempfile

import pedalboard._pedalboard
import pytest

from display import Display


# What the plugin keeps for its user goes elsewhere: whoever runs the tests has sounds and settings of their own. Programs
# that the tests start have it from here.
PLACE = tempfile.TemporaryDirectory(prefix="soundlocd-tests-")
os.environ.setdefault("SOUNDLOCD_LIBRARY", str(pathlib.Path(PLACE.name, "library")))
os.environ.setdefault("SOUNDLOCD_PREFERENCES", str(pathlib.Path(PLACE.name, "preferences.json")))

# pedalboard asks every parameter for a thousand texts when it loads a plugin, but for MIDI controllers
# that a plugin offers as parameters. It knows those of JUCE by name; these are nice-plug's, 2,080 of them.
pedalboard._pedalboard.PARAMETER_NAME_REGEXES_TO_IGNORE.add(re.compile(r"MIDI Ch\. "))
# Nor does it need those of pads 2 to 16: they are like pad 1's, and 435.
pedalboard._pedalboard.PARAMETER_NAME_REGEXES_TO_IGNORE.add(re.compile(r"Pad ([2-9]|1[0-6]) "))


def pytest_addoption(parser):
    parser.addoption("--vst3", required=True, type=pathlib.Path, help="the VST3 bundle under test")
    parser.addoption("--state", required=True, type=pathlib.Path, help="a plugin state with a 440 Hz sine")
    parser.addoption("--peft", type=pathlib.Path, help="folder that the program peft_folder wrote")
    parser.addoption("--drag", required=True, type=pathlib.Path, help="the plugin's example that files are dragged from")
    parser.addoption("--standalone", type=pathlib.Path, help="the standalone program, if it was built")
    parser.addoption("--artifacts", required=True, type=pathlib.Path, help="folder for screenshots")


@pytest.fixture(scope="session")
def vst3(request) -> str:
    """Path of the VST3 bundle."""
    path = request.config.getoption("--vst3")
    assert path.is_dir(), f"no VST3 bundle at {path}: run `cargo xtask bundle`"
    return str(path)


@pytest.fixture(scope="session")
def sine_state(request) -> dict:
    """The plugin's own state in which middle C plays a sine of 440 Hz."""
    return json.loads(request.config.getoption("--state").read_text())


@pytest.fixture(scope="session")
def artifacts(request) -> pathlib.Path:
    """Folder in which what a person may want to look at is kept."""
    path = request.config.getoption("--artifacts")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def display():
    """A fresh X display with a window manager."""
    with Display() as display:
        yield display
