"""A GTK window that files can be dropped on: `drop_window.py [refuse]`.

A program nobody here wrote the drop side of. Each drop is printed as a line of JSON: the raw data in hexadecimal and the
addresses that GTK reads in it. With `refuse` it takes text only, so that files are refused. Runs with the
system's Python, which has the bindings.
"""

import json
import sys

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk  # noqa: E402

kind = "text/plain;charset=utf-8" if "refuse" in sys.argv[1:] else "text/uri-list"
window = Gtk.Window(title="Drop here")
window.set_default_size(400, 300)
window.drag_dest_set(Gtk.DestDefaults.ALL, [Gtk.TargetEntry.new(kind, 0, 0)], Gdk.DragAction.COPY)


def received(_window, _context, _x, _y, data, _info, _time):
    print(json.dumps({"data": data.get_data().hex(), "uris": data.get_uris()}), flush=True)


window.connect("drag-data-received", received)
window.connect("destroy", Gtk.main_quit)
window.show_all()
Gtk.main()
