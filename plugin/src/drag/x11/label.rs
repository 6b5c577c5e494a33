//! The label beside the pointer: what is dragged, and whether the window below takes it.

use std::path::PathBuf;

use ab_glyph::{Font as _, FontRef, PxScale, ScaleFont as _, point};
use x11rb::{
    connection::{Connection as _, RequestConnection as _},
    protocol::{
        shape::{self, ConnectionExt as _},
        xproto::{
            AtomEnum, ChangeWindowAttributesAux, ClipOrdering, ConfigureWindowAux, ConnectionExt as _,
            CreateGCAux, CreateWindowAux, ImageFormat, ImageOrder, Pixmap, PropMode, Screen, StackMode,
            VisualClass, Window, WindowClass,
        },
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

use super::{Atoms, DragError};

/// The window's own font.
const FONT: &[u8] = include_bytes!("../../../../assets/fonts/Inter-Regular.otf");
/// Sizes in pixels at a scale of 1: of the text, of the space around it, of the longest text, and from the pointer.
const TEXT: f32 = 13.0;
const MARGIN: f32 = 8.0;
const LONGEST: f32 = 260.0;
const OFFSET: f32 = 18.0;
/// Colours, red first: of the ground, of the text, and of the bar at the left where the files are taken or not.
const GROUND: [u8; 3] = [0x20, 0x24, 0x2B];
const INK: [u8; 3] = [0xE8, 0xEA, 0xED];
const TAKEN: [u8; 3] = [0x5F, 0xC9, 0x8F];
const NOT_TAKEN: [u8; 3] = [0x70, 0x76, 0x80];

/// A window that the pointer goes through.
pub(super) struct Label<'a> {
    connection: &'a RustConnection,
    window: Window,
    /// The screen's size and our own, in pixels.
    screen: (i16, i16),
    size: (u16, u16),
    offset: i16,
    /// What it looks like where the files are not taken, and where they are.
    pictures: [Pixmap; 2],
    /// Where it is and what it shows; `None` while it is hidden.
    shown: Option<(i16, i16, bool)>,
}

impl<'a> Label<'a> {
    /// A label for these files, still hidden. `None` on displays that it cannot be drawn on: a drag works without it.
    pub(super) fn new(
        connection: &'a RustConnection,
        atoms: &Atoms,
        screen: &Screen,
        paths: &[PathBuf],
    ) -> Option<Self> {
        let swap = byte_order(connection, screen)?;
        let scale = display_scale(connection);
        let pictures = [NOT_TAKEN, TAKEN].map(|bar| draw(&text(paths), scale, bar));
        let [first, _] = &pictures;
        let size = (u16::try_from(first.width).ok()?, u16::try_from(first.height).ok()?);
        let make = || -> Result<Self, DragError> {
            let window = connection.generate_id()?;
            let free = CreateWindowAux::new().override_redirect(1).save_under(1);
            let (class, parent) = (WindowClass::INPUT_OUTPUT, screen.root);
            connection.create_window(0, window, parent, 0, 0, size.0, size.1, 0, class, 0, &free)?;
            let (kind, value) = (atoms._NET_WM_WINDOW_TYPE, atoms._NET_WM_WINDOW_TYPE_DND);
            connection.change_property32(PropMode::REPLACE, window, kind, AtomEnum::ATOM, &[value])?;
            // Else it would be what lies under the pointer.
            if connection.extension_information(shape::X11_EXTENSION_NAME)?.is_some() {
                let (set, input) = (shape::SO::SET, shape::SK::INPUT);
                connection.shape_rectangles(set, input, ClipOrdering::UNSORTED, window, 0, 0, &[])?;
            }
            let mut pixmaps = [0; 2];
            for (pixmap, picture) in pixmaps.iter_mut().zip(&pictures) {
                *pixmap = connection.generate_id()?;
                connection.create_pixmap(screen.root_depth, *pixmap, window, size.0, size.1)?;
                let context = connection.generate_id()?;
                connection.create_gc(context, *pixmap, &CreateGCAux::new())?;
                let format = ImageFormat::Z_PIXMAP;
                let bytes = picture.bytes(swap);
                connection.put_image(
                    format,
                    *pixmap,
                    context,
                    size.0,
                    size.1,
                    0,
                    0,
                    0,
                    screen.root_depth,
                    &bytes,
                )?;
                connection.free_gc(context)?;
            }
            Ok(Self {
                connection,
                window,
                screen: (screen.width_in_pixels.cast_signed(), screen.height_in_pixels.cast_signed()),
                size,
                offset: (OFFSET * scale) as i16,
                pictures: pixmaps,
                shown: None,
            })
        };
        make().ok()
    }

    /// Shows it beside the pointer; `accepts` says whether the files are taken there.
    pub(super) fn show(&mut self, x: i16, y: i16, accepts: bool) -> Result<(), DragError> {
        let was = self.shown.replace((x, y, accepts));
        if was == self.shown {
            return Ok(());
        }
        if was.is_none_or(|(_, _, accepted)| accepted != accepts) {
            let [no, yes] = self.pictures;
            let picture = ChangeWindowAttributesAux::new().background_pixmap(if accepts { yes } else { no });
            self.connection.change_window_attributes(self.window, &picture)?;
            self.connection.clear_area(false, self.window, 0, 0, 0, 0)?;
        }
        // At the right and the bottom of the screen it goes to the pointer's other side.
        let place = |at: i16, size: u16, end: i16| {
            let size = i32::from(size);
            let after = i32::from(at) + i32::from(self.offset);
            if after + size <= i32::from(end) {
                after
            } else {
                (i32::from(at) - i32::from(self.offset) - size).max(0)
            }
        };
        let place = ConfigureWindowAux::new()
            .x(place(x, self.size.0, self.screen.0))
            .y(place(y, self.size.1, self.screen.1))
            .stack_mode(StackMode::ABOVE);
        self.connection.configure_window(self.window, &place)?;
        if was.is_none() {
            self.connection.map_window(self.window)?;
        }
        Ok(())
    }

    /// Takes it away.
    pub(super) fn hide(&self) -> Result<(), DragError> {
        self.connection.unmap_window(self.window)?;
        Ok(())
    }
}

/// Whether pixels are sent with the red byte first; `None` on a screen that does not have eight bits of each
/// colour in pixels of four bytes.
fn byte_order(connection: &RustConnection, screen: &Screen) -> Option<bool> {
    let setup = connection.setup();
    let format = setup.pixmap_formats.iter().find(|format| format.depth == screen.root_depth)?;
    let mut visuals = screen.allowed_depths.iter().flat_map(|depth| &depth.visuals);
    let visual = visuals.find(|visual| visual.visual_id == screen.root_visual)?;
    let masks = (visual.red_mask, visual.green_mask, visual.blue_mask);
    let is_usual = format.bits_per_pixel == 32
        && visual.class == VisualClass::TRUE_COLOR
        && masks == (0xFF_0000, 0xFF00, 0xFF);
    is_usual.then_some(setup.image_byte_order == ImageOrder::MSB_FIRST)
}

/// The display's scale, from its resources.
fn display_scale(connection: &RustConnection) -> f32 {
    let database = x11rb::resource_manager::new_from_default(connection).ok();
    let dpi: Option<f32> = database.and_then(|database| database.get_value("Xft.dpi", "").ok().flatten());
    dpi.filter(|dpi| (48.0..=768.0).contains(dpi)).map_or(1.0, |dpi| dpi / 96.0)
}

/// What the label says.
fn text(paths: &[PathBuf]) -> String {
    match paths {
        [path] => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        paths => format!("{} sounds", paths.len()),
    }
}

/// Pixels of red, green and blue, in rows.
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// As the server wants them: four bytes each.
    fn bytes(&self, red_first: bool) -> Vec<u8> {
        self.pixels
            .iter()
            .flat_map(|&[r, g, b]| if red_first { [0, r, g, b] } else { [b, g, r, 0] })
            .collect()
    }
}

/// Draws the text on a ground, with a bar at the left.
fn draw(text: &str, scale: f32, bar: [u8; 3]) -> Picture {
    let height = ((TEXT + 2.0 * MARGIN) * scale).ceil() as usize;
    let mut outlines = Vec::new();
    let mut end = 2.0 * MARGIN * scale;
    if let Ok(font) = FontRef::try_from_slice(FONT) {
        let font = font.as_scaled(PxScale::from(TEXT * scale * 1.2));
        let baseline = (height as f32 + font.ascent() + font.descent()) / 2.0;
        for c in text.chars() {
            let is_full = end > LONGEST * scale;
            let mut glyph = font.scaled_glyph(if is_full { '…' } else { c });
            glyph.position = point(end, baseline);
            end += font.h_advance(glyph.id);
            outlines.extend(font.outline_glyph(glyph));
            if is_full {
                break;
            }
        }
    }
    let width = (end + MARGIN * scale).ceil() as usize;
    let bar_width = (MARGIN / 2.0 * scale).ceil() as usize;
    let pixels = (0..width * height).map(|at| if at % width < bar_width { bar } else { GROUND }).collect();
    let mut picture = Picture { width, height, pixels };
    for outline in outlines {
        let corner = outline.px_bounds().min;
        outline.draw(|x, y, coverage| {
            let (x, y) = (corner.x as i64 + i64::from(x), corner.y as i64 + i64::from(y));
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
            if x >= picture.width {
                return;
            }
            if let Some(pixel) = picture.pixels.get_mut(y * picture.width + x) {
                for (to, ink) in pixel.iter_mut().zip(INK) {
                    *to =
                        (f32::from(*to) + (f32::from(ink) - f32::from(*to)) * coverage.clamp(0.0, 1.0)) as u8;
                }
            }
        });
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_show_the_name_and_stay_short() {
        assert_eq!(text(&["/a/Tür 1.wav".into()]), "Tür 1.wav");
        assert_eq!(text(&["/a.wav".into(), "/b.wav".into()]), "2 sounds");
        let short = draw("bell.wav", 1.0, TAKEN);
        let long = draw(&"x".repeat(10_000), 1.0, TAKEN);
        assert!(short.width < long.width && long.width < 330, "{} {}", short.width, long.width);
        for picture in [&short, &long] {
            assert_eq!(picture.pixels.len(), picture.width * picture.height);
            assert_eq!(picture.pixels.first(), Some(&TAKEN));
            assert!(picture.pixels.iter().filter(|pixel| pixel[2] > 0xB0).count() > 20);
        }
        assert_eq!(draw("bell.wav", 2.0, TAKEN).height, 2 * short.height);
    }
}
