//! The display's scale, before there is a window to ask.

use nice_plug::editor::dpi::{LogicalSize, Size};

/// Dots per inch that count as a scale of 1.
#[cfg(all(unix, not(target_os = "macos")))]
const STANDARD_DPI: f64 = 96.0;

/// The size to open the window with. The framework reports logical sizes as if the scale were 1
/// until the window exists, so that hosts would make too small a frame: on X11 the physical size
/// is computed here.
pub fn initial_size(logical: LogicalSize<f32>) -> Size {
    #[cfg(all(unix, not(target_os = "macos")))]
    if let Some(scale) = x11_scale() {
        return Size::Physical(logical.to_physical(scale));
    }
    Size::Logical(LogicalSize::new(f64::from(logical.width), f64::from(logical.height)))
}

/// `Xft.dpi` from the X server's resource database, as the window library reads it, over
/// [`STANDARD_DPI`].
#[cfg(all(unix, not(target_os = "macos")))]
fn x11_scale() -> Option<f64> {
    let (connection, _) = x11rb::connect(None).ok()?;
    let database = x11rb::resource_manager::new_from_default(&connection).ok()?;
    let dpi: f64 = database.get_value("Xft.dpi", "").ok().flatten()?;
    // Anything else is a broken setting.
    (48.0..=768.0).contains(&dpi).then_some(dpi / STANDARD_DPI)
}
