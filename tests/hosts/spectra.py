"""Draws what air and width do, in pedalboard at 48 kHz: `spectra.py VST3 PRESET PICTURE`.

Run by hand; needs matplotlib beside the tests' requirements. PRESET is a preset's file, such as those in assets/presets. Plays every pad
once, dry, with air, and with width, and prints and draws the spectra.
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pedalboard

import conftest  # noqa: F401 (loads faster with it)
import juce_state

RATE = 48_000
SECONDS = 2.5
PADS = 16
FIRST_KEY = 36
WINDOW = 4_096


def prefix(pad: int) -> str:
    return "" if pad == 0 else f"pad{pad + 1}_"


def play(vst3: str, state: dict, name: str, amount: float) -> np.ndarray:
    """All pads one after the other, with a parameter at an amount."""
    params = state["params"] | {f"{prefix(pad)}{name}": {"f32": amount} for pad in range(PADS)}
    plugin = pedalboard.load_plugin(vst3, initialization_timeout=0.1)
    plugin.raw_state = juce_state.wrap_json(state | {"params": params})
    parts = [
        plugin([(bytes([0x90, FIRST_KEY + pad, 127]), 0.0)], duration=SECONDS, sample_rate=RATE, num_channels=2)
        for pad in range(PADS)
    ]
    return np.concatenate(parts, axis=1)


def spectrum(audio: np.ndarray) -> np.ndarray:
    """Mean power of windows in dB."""
    hops = np.lib.stride_tricks.sliding_window_view(audio, WINDOW)[:: WINDOW // 2] * np.hanning(WINDOW)
    return 10 * np.log10((np.abs(np.fft.rfft(hops)) ** 2).mean(axis=0) / WINDOW + 1e-14)


def band(spectrum_db: np.ndarray, low: float, high: float) -> float:
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    return 10 * np.log10((10 ** (spectrum_db[(hz >= low) & (hz < high)] / 10)).mean())


def main():
    vst3, preset, picture = sys.argv[1:]
    state = json.loads(pathlib.Path(preset).read_text())["state"]
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 7), sharex=True, constrained_layout=True)

    spectra = {amount: spectrum(play(vst3, state, "air", amount)[0]) for amount in (0.0, 0.5, 1.0)}
    for amount, values in spectra.items():
        above.semilogx(hz[1:], values[1:], label=f"air {amount:.0%}", linewidth=1)
        bands = [(100, 5_000), (5_000, 10_000), (11_500, 16_000), (16_500, 21_500)]
        print(f"air {amount:.0%}:", ", ".join(f"{low}-{high} Hz {band(values, low, high):.1f} dB" for low, high in bands))
    above.set(title=f"{pathlib.Path(preset).stem}: mean spectrum, left", ylabel="dB", ylim=(-110, None))
    above.legend()

    dry = play(vst3, state, "width", 0.0)
    for amount in (0.0, 0.5, 1.0):
        left, right = wide = play(vst3, state, "width", amount)
        correlation = (left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum())
        residue = 10 * np.log10((((wide - dry).sum(axis=0)) ** 2).sum() / (dry.sum(axis=0) ** 2).sum() + 1e-30)
        balance = 10 * np.log10((left**2).sum() / (right**2).sum())
        print(
            f"width {amount:.0%}: correlation {correlation:.3f}, balance {balance:+.2f} dB, "
            f"mono sum differs from dry by {residue:.0f} dB"
        )
        below.semilogx(hz[1:], (spectrum(left) - spectrum(right))[1:], label=f"width {amount:.0%}", linewidth=1)
    below.set(title="left over right", xlabel="Hz", ylabel="dB", xlim=(40, RATE / 2), ylim=(-18, 18))
    below.legend()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main()
