//! A window that files are dragged out of, to test and try [`soundlocd::drag`]:
//! `cargo run -p soundlocd --example drag -- FILE...`. A press of the first mouse button in it begins the drag;
//! how that ended is printed.

#[cfg(all(unix, not(target_os = "macos")))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use raw_window_handle::{RawWindowHandle, XcbWindowHandle};
    use x11rb::{
        COPY_DEPTH_FROM_PARENT,
        connection::Connection as _,
        protocol::{
            Event,
            xproto::{AtomEnum, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, WindowClass},
        },
        wrapper::ConnectionExt as _,
    };

    let mut paths = Vec::new();
    for argument in std::env::args_os().skip(1) {
        paths.push(std::path::absolute(argument)?);
    }
    let (connection, screen) = x11rb::connect(None)?;
    let screen = connection.setup().roots.get(screen).ok_or("no screen")?;
    let window = connection.generate_id()?;
    let look = CreateWindowAux::new()
        .background_pixel(screen.white_pixel)
        .event_mask(EventMask::BUTTON_PRESS | EventMask::BUTTON_RELEASE);
    let (depth, class) = (COPY_DEPTH_FROM_PARENT, WindowClass::INPUT_OUTPUT);
    connection.create_window(depth, window, screen.root, 0, 0, 300, 200, 0, class, 0, &look)?;
    let (name, text) = (AtomEnum::WM_NAME, AtomEnum::STRING);
    connection.change_property8(PropMode::REPLACE, window, name, text, b"SoundLoCD drag example")?;
    connection.map_window(window)?;
    connection.flush()?;
    loop {
        match connection.wait_for_event()? {
            Event::ButtonPress(press) if press.detail == 1 => {
                let handle =
                    std::num::NonZeroU32::new(window).map(XcbWindowHandle::new).map(RawWindowHandle::Xcb);
                let done = |outcome| match outcome {
                    Ok(outcome) => println!("{outcome:?}"),
                    Err(error) => println!("{error}"),
                };
                if let Err(error) = soundlocd::drag::start(paths.clone(), handle, done) {
                    println!("{error}");
                }
            }
            _ => {}
        }
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn main() {
    println!("This example is for X11.");
}
