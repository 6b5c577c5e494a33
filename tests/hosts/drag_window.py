"""A GTK window that files can be dragged out of: `drag_window.py FILE...`.

A program nobody here wrote the drag side of. It prints a line when a drag begins and one when it has ended. Runs with the
system's Python, which has the bindings.
"""

import pathlib
import sys

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk  # noqa: E402

uris = [pathlib.Path(name).absolute().as_uri() for name in sys.argv[1:]]
window = Gtk.Window(title="Drag from here")
window.set_default_size(240, 120)
box = Gtk.EventBox()
window.add(box)
box.drag_source_set(
    Gdk.ModifierType.BUTTON1_MASK, [Gtk.TargetEntry.new("text/uri-list", 0, 0)], Gdk.DragAction.COPY
)
box.connect("drag-begin", lambda *_: print("begin", flush=True))
box.connect("drag-data-get", lambda _box, _context, data, _info, _time: data.set_uris(uris))
box.connect("drag-end", lambda *_: print("end", flush=True))
window.connect("destroy", Gtk.main_quit)
window.show_all()
Gtk.main()
