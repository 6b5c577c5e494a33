//! What the program says of itself: versions, licences, whose the sounds are, and the card of the default model.

use egui::{Context, Id, Label, Modal, RichText, ScrollArea, Ui};
use soundlocd_engine::pack::library::Summary;

use super::{app::View, theme, widgets::text_button};

/// Width of the panel.
const WIDTH: f32 = 470.0;
/// The card of the default model.
const CARD: &str = include_str!("../../../assets/README.md");

fn id() -> Id {
    Id::unique("about")
}

/// Opens the panel.
pub fn open(context: &Context) {
    context.data_mut(|data| data.insert_temp(id(), true));
}

/// Draws the panel over the window, if it is open.
pub fn show(context: &Context, view: &View) {
    if !context.data(|data| data.get_temp::<bool>(id()).unwrap_or_default()) {
        return;
    }
    let response = Modal::new(id().with("panel")).show(context, |ui| {
        ui.set_width(WIDTH.min(context.content_rect().width() - 60.0));
        let height = (context.content_rect().height() - 130.0).min(420.0);
        ScrollArea::vertical().max_height(height).show(ui, |ui| contents(ui, view));
        ui.separator();
        text_button(ui, "Close", "Escape").clicked()
    });
    if response.inner || response.should_close() {
        context.data_mut(|data| data.remove::<bool>(id()));
    }
}

fn contents(ui: &mut Ui, view: &View) {
    heading(ui, &format!("SoundLoCD {}", env!("CARGO_PKG_VERSION")));
    text(ui, "Type a sound, play it. Everything is made on your own computer; nothing is sent anywhere.");
    heading(ui, "What you generate is yours");
    text(
        ui,
        "Sounds made with the default model may be used for anything, sold too, without naming anybody: no claim is \
         made on them. For other models and adapters see their own cards.",
    );
    heading(ui, "Licences");
    text(
        ui,
        "The program: MIT or Apache-2.0, as you like. The default model's weights: Apache-2.0, trained on recordings \
         under free licences, which ATTRIBUTION.md names one by one. The typeface Inter: SIL Open Font License 1.1. \
         The text encoder all-MiniLM-L6-v2: Apache-2.0. Symphonia, which reads dropped files: MPL-2.0, unmodified, its \
         source at github.com/pdeljanov/Symphonia. VST is a registered trademark of Steinberg Media \
         Technologies GmbH.",
    );
    if let Some(library) = &view.model.packs {
        heading(ui, "Models on this computer");
        for listed in library.packs() {
            if let Ok(pack) = &listed.pack {
                text(ui, &model(&listed.name, pack));
            }
        }
    }
    for line in card() {
        match line {
            Line::Heading(words) => heading(ui, &words),
            Line::Text(words) => text(ui, &words),
        }
    }
}

/// A line of the card.
#[derive(Debug, PartialEq)]
enum Line {
    Heading(String),
    Text(String),
}

/// The card's Markdown as lines to read: paragraphs in one, rows of tables as sentences, without commands.
fn card() -> Vec<Line> {
    let mut lines = Vec::new();
    let (mut is_code, mut paragraph) = (false, String::new());
    for line in CARD.lines().map(str::trim).chain([""]) {
        let is_fence = line.starts_with("```");
        let ends = line.is_empty() || is_fence || line.starts_with('#') || line.starts_with('|');
        if ends && !paragraph.is_empty() {
            lines.push(Line::Text(std::mem::take(&mut paragraph)));
        }
        is_code ^= is_fence;
        if is_code || is_fence || line.is_empty() || line.starts_with("|---") {
            continue;
        }
        if line.starts_with('#') {
            lines.push(Line::Heading(line.trim_start_matches('#').trim().to_owned()));
        } else if line.starts_with('|') {
            let cells: Vec<&str> = line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
            lines.push(Line::Text(cells.join("  ·  ")));
        } else {
            let space = if paragraph.is_empty() { "" } else { " " };
            paragraph += &format!("{space}{}", line.replace('`', ""));
        }
    }
    lines
}

/// A model in a sentence.
fn model(name: &str, pack: &Summary) -> String {
    let size = pack
        .parameters
        .map_or_else(String::new, |count| format!("{:.1} million parameters, ", count as f64 / 1e6));
    format!("{name}: {size}{} MB, licence {}, identity {:.12}", pack.bytes >> 20, pack.licence, pack.hash)
}

fn heading(ui: &mut Ui, words: &str) {
    ui.add_space(4.0);
    ui.label(RichText::new(words).font(theme::bold(14.0)).color(theme::text()));
}

fn text(ui: &mut Ui, words: &str) {
    ui.add(Label::new(RichText::new(words).font(theme::font(12.5))).wrap().selectable(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_says_whose_the_sounds_are_and_shows_no_commands() {
        let lines = card();
        assert!(matches!(lines.first(), Some(Line::Heading(words)) if words.contains("default pack")));
        let says =
            |what: &str| lines.iter().any(|line| matches!(line, Line::Text(words) if words.contains(what)));
        assert!(says("What you generate is yours"));
        assert!(!says("cargo xtask train") && !says("```") && !says("|--"));
    }
}
