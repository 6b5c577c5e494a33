"""The standalone program: a sound is made and kept when it is told to end, and there again when it starts."""

import json
import signal
import subprocess
import time

import pytest

from test_window import PATIENCE_SECONDS, PROMPT, PROMPT_BOX


@pytest.fixture
def program(request):
    path = request.config.getoption("--standalone")
    if path is None:
        pytest.skip("the standalone program was not built")
    return path


class Standalone:
    """The program, running without an audio device."""

    def __init__(self, display, program, session):
        self.process = subprocess.Popen(
            [program, "--backend", "dummy", "--sample-rate", "48000"],
            env=display.environment | {"SOUNDLOCD_STANDALONE": str(session)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.window = display.window("SoundLoCD")
        deadline = time.monotonic() + 30
        while len(set(self.window.pixels()[::997])) < 8:
            assert time.monotonic() < deadline, "the window stayed empty"
            time.sleep(0.2)

    def end(self, number):
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, output


def kept(session) -> tuple[dict, dict]:
    """What the file of a session says of the prompt and of the sounds."""
    fields = json.loads(session.read_text())["state"]["fields"]
    return json.loads(fields["project"]), json.loads(fields["kit"])


def test_what_was_made_is_kept_and_comes_back(display, program, artifacts, tmp_path):
    session, library = tmp_path / "folder" / "session.soundlocd", tmp_path / "library"
    display.environment["SOUNDLOCD_LIBRARY"] = str(library)

    first = Standalone(display, program, session)
    # The window manager may give the focus after the first click.
    first.window.click(*PROMPT_BOX)
    first.window.click(*PROMPT_BOX)
    first.window.key("ctrl+a")
    first.window.type(PROMPT)
    first.window.key("Return")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(library.rglob("*.wav")):
        assert first.process.poll() is None, first.process.communicate()
        assert time.monotonic() < deadline, "no sound was made"
        time.sleep(0.5)
    # As at the end of a desktop's session.
    first.end(signal.SIGTERM)
    project, kit = kept(session)
    assert project["prompt"] == PROMPT
    assert len(kit["clips"]) == 1 and kit["pads"][0] == 0

    again = Standalone(display, program, session)
    display.screenshot(artifacts / "standalone-again.png")
    # As in a terminal.
    again.end(signal.SIGINT)
    assert kept(session) == (project, kit)
