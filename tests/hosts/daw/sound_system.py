"""A sound system without a sound card, with a musician's keyboard and ears."""

import itertools
import os
import pathlib
import subprocess
import tempfile
import time

import jack
import numpy as np

RATE = 48_000
# Long enough that a busy machine seldom misses one.
BLOCK = 2_048
NOTE_ON, NOTE_OFF = 0x90, 0x80
MIDDLE_C = 60
ATTEMPTS = 10


class SoundSystem:
    """A JACK server with its dummy driver, beside any that the user has: a context manager."""

    _numbers = itertools.count()

    def __init__(self):
        # Each time another: JACK takes one that had to be killed for one that still runs.
        self._name = f"soundlocd-{os.getpid()}-{next(self._numbers)}"
        # With this its clients find it.
        self.environment = {"JACK_DEFAULT_SERVER": self._name, "JACK_NO_START_SERVER": "1"}

    def __enter__(self) -> "SoundSystem":
        command = ["jackd", "--name", self._name, "--no-realtime"]
        # A DAW that opens a session on a busy machine is not thrown out.
        command += ["--timeout", "10000", "-d", "dummy", "-r", str(RATE), "-p", str(BLOCK)]
        self._log = tempfile.TemporaryFile()
        self._server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        time.sleep(2)
        assert self._server.poll() is None, "jackd did not start"
        return self

    def __exit__(self, *_):
        self._server.terminate()
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def is_confused(self) -> bool:
        """Whether the server has read nonsense from a client: then the client is thrown out, whatever it plays."""
        return "CheckSize error" in self.log()

    def log(self) -> str:
        """What the server has said so far."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def play(self, keyboard: str | pathlib.Path, audio_ports: list[str], seconds: float = 4) -> np.ndarray:
        """Holds middle C for three quarters of the time: what comes out of the ports, [ports, frames], without any
        gap. Ports are named by regular expressions; a path is a FIFO that MIDI messages are written to."""
        for _ in range(ATTEMPTS):
            heard, is_whole = self._listen(keyboard, audio_ports, seconds)
            # A DAW that is busy with the new connections now and then misses the key, or a side.
            if is_whole and heard.any(axis=1).all():
                return heard
        raise AssertionError(f"{ATTEMPTS} times the key was not heard, or with gaps")

    def _listen(self, keyboard, audio_ports, seconds) -> tuple[np.ndarray, bool]:
        client = jack.Client("musician", servername=self._name, no_start_server=True)
        midi = client.midi_outports.register("keyboard")
        ears = [client.inports.register(f"ear_{n}") for n in range(len(audio_ports))]
        blocks = round(seconds * RATE / BLOCK)
        heard = np.zeros((len(ears), blocks * BLOCK), np.float32)
        # A little silence first: the notes before must have died away, and effects of the connection.
        begin = 12
        events = {begin: (NOTE_ON, MIDDLE_C, 100), begin + blocks * 3 // 4: (NOTE_OFF, MIDDLE_C, 0)}
        progress = {"block": None, "gaps": 0}

        @client.set_xrun_callback
        def missed(_):
            progress["gaps"] += 1

        @client.set_process_callback
        def process(_):
            midi.clear_buffer()
            block = progress["block"]
            if block is None or block >= begin + blocks:
                return
            if block in events and isinstance(keyboard, str):
                midi.write_midi_event(0, events[block])
            elif block in events:
                keyboard.write_bytes(bytes(events[block]))
            if block >= begin:
                for ear, recording in zip(ears, heard):
                    recording[(block - begin) * BLOCK :][:BLOCK] = ear.get_array()
            progress["block"] = block + 1

        def port(name, **kind):
            deadline = time.monotonic() + 30
            while not (found := client.get_ports(name, **kind)):
                assert time.monotonic() < deadline, f"no port {name}: {client.get_ports()}"
                time.sleep(0.2)
            return found[0]

        with client:
            if isinstance(keyboard, str):
                client.connect(midi, port(keyboard, is_midi=True, is_input=True))
            for ear, name in zip(ears, audio_ports):
                client.connect(port(name, is_audio=True, is_output=True), ear)
            time.sleep(0.5)
            progress |= {"block": 0, "gaps": 0}
            deadline = time.monotonic() + 10 * seconds + 10
            while progress["block"] < begin + blocks:
                assert time.monotonic() < deadline, "the sound system stands still"
                time.sleep(0.05)
        return heard, progress["gaps"] == 0


def from_its_start(heard: np.ndarray) -> np.ndarray:
    """Without the silence before it: a DAW may answer a block sooner or later."""
    loud = np.flatnonzero(np.abs(heard).max(axis=0))
    assert len(loud), "nothing was heard"
    return heard[:, loud[0] :]
