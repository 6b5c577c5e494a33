"""The frame that JUCE hosts (pedalboard, DawDreamer) put around a VST3 plugin's state.

`juce::AudioProcessor::copyXmlToBinary`: the magic "VC2!", a length, XML text, a zero byte. The XML
has one element for each half of the plugin, with `juce::MemoryBlock::toBase64Encoding` text: the
number of bytes, a dot, then six bits a character, least significant first, in an alphabet of its own.
The component's bytes are the plugin's state: JSON text (see `plugin_state.rs`).
"""

import json
import struct
import xml.etree.ElementTree as ElementTree

MAGIC = b"VC2!"
ALPHABET = ".ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"
VALUES = {character: value for value, character in enumerate(ALPHABET)}


def to_juce_base64(data: bytes) -> str:
    bits = int.from_bytes(data, "little")
    count = (len(data) * 8 + 5) // 6
    # Through a binary string: shifting a large integer character by character would be quadratic.
    text = format(bits, "b").zfill(count * 6)
    characters = (ALPHABET[int(text[end - 6 : end], 2)] for end in range(len(text), 0, -6))
    return f"{len(data)}." + "".join(characters)


def from_juce_base64(text: str) -> bytes:
    size, _, characters = text.strip().partition(".")
    bits = "".join(format(VALUES[character], "06b") for character in reversed(characters))
    return int(bits or "0", 2).to_bytes((len(bits) + 7) // 8, "little")[: int(size)]


def wrap(state: bytes) -> bytes:
    """The plugin's `state` as a JUCE host saves it."""
    root = ElementTree.Element("VST3PluginState")
    ElementTree.SubElement(root, "IComponent").text = to_juce_base64(state)
    xml = b'<?xml version="1.0" encoding="UTF-8"?> ' + ElementTree.tostring(root)
    return MAGIC + struct.pack("<I", len(xml)) + xml + b"\0"


def wrap_json(state: dict) -> bytes:
    return wrap(json.dumps(state).encode())


def unwrap(raw: bytes) -> dict:
    """The plugin's own state out of what a JUCE host saved."""
    assert raw[:4] == MAGIC, raw[:16]
    (size,) = struct.unpack("<I", raw[4:8])
    root = ElementTree.fromstring(raw[8 : 8 + size].rstrip(b"\0"))
    return json.loads(from_juce_base64(root.findtext("IComponent")))


def field(state: dict, name: str):
    """A persistent field of the plugin's state: each is a JSON text of its own."""
    return json.loads(state["fields"][name])
