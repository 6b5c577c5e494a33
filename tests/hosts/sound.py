"""Measurements of rendered sound."""

import numpy as np


def pitch(audio: np.ndarray, rate: float) -> float:
    """Frequency of the strongest partial in Hz: the peak of a windowed spectrum, refined by a
    parabola through the logarithms of its three highest bins (Smith and Serra 1987)."""
    windowed = audio * np.blackman(len(audio))
    spectrum = np.log(np.abs(np.fft.rfft(windowed)) + 1e-12)
    k = int(np.argmax(spectrum[1:-1])) + 1
    below, peak, above = spectrum[k - 1 : k + 2]
    offset = 0.5 * (below - above) / (below - 2 * peak + above)
    return (k + offset) * rate / len(audio)


def cents(found: float, wanted: float) -> float:
    """Distance of two frequencies in hundredths of a semitone."""
    return 1200 * float(np.log2(found / wanted))
