//! What can be done with a sound of either list: the menu that a right click on it opens, or its button with the dots.

use std::{path::PathBuf, sync::Arc};

use egui::{
    Button, Id, Key, Popup, PopupCloseBehavior, Rect, Response, RichText, Role, Sense, TextEdit, Ui,
    WidgetInfo, vec2,
};

use super::{
    app::View,
    theme,
    widgets::{Icon, icon_button_at, name_field, text_button},
};
use crate::{
    library::{Entry, LibraryWorker},
    session::Original,
    take::Take,
};

/// Width of the menu.
const WIDTH: f32 = 190.0;
/// Longest name or list of tags that can be typed, in characters.
const MOST_CHARS: usize = 500;

/// What the menu is about.
#[derive(Clone, Copy)]
pub enum Sound<'a> {
    /// A sound of the library.
    Entry(&'a Entry),
    /// A sound of the project.
    Take(&'a Arc<Take>),
}

/// What is being typed in the menu.
#[derive(Clone)]
enum Editing {
    Name(String),
    Tags(String),
}

/// Shows the menu while it is open. `row` opens it with the other button, `more` with a click or by keyboard.
pub fn show(row: &Response, more: &Response, view: &View, sound: Sound) {
    if row.secondary_clicked() || more.clicked() {
        row.ctx.data_mut(|data| data.remove::<Editing>(editing_id()));
        if let Sound::Take(take) = sound {
            view.session.look_up(take);
        }
    }
    for popup in [Popup::context_menu(row), Popup::menu(more)] {
        popup.width(WIDTH).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
            ui.set_width(WIDTH);
            contents(ui, view, sound);
        });
    }
}

/// The button with the dots at `rect`: there for the keyboard, and seen while the pointer is on the `row`, the keyboard
/// on the button, or its menu open.
pub fn button(ui: &Ui, rect: Rect, id: Id, row: &Response) -> Response {
    let response = ui.interact(rect, id, Sense::click());
    let is_open = Popup::is_id_open(ui.ctx(), Popup::default_response_id(&response));
    if row.contains_pointer() || response.has_focus() || is_open {
        return icon_button_at(ui, rect, response, Icon::More, is_open, "More: rename, tags, files");
    }
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "More: rename, tags, files"));
    response
}

/// There is one menu at a time.
fn editing_id() -> Id {
    Id::unique("sound menu")
}

fn field_id() -> Id {
    Id::unique("sound menu field")
}

fn contents(ui: &mut Ui, view: &View, sound: Sound) {
    let looked_up = view.model.looked_up.as_ref();
    let entry = match sound {
        Sound::Entry(entry) => Some(entry),
        Sound::Take(take) => looked_up.filter(|(id, _)| *id == take.id).and_then(|(_, entry)| entry.as_ref()),
    };
    let library = view.session.library();
    if let (Some(library), Some(entry)) = (&library, entry) {
        if let Some(editing) = ui.data(|data| data.get_temp::<Editing>(editing_id())) {
            return edit(ui, view, library, entry, sound, editing);
        }
        if entry.is_missing {
            missing(ui, view, library, entry, sound);
        } else {
            kept(ui, view, library, entry, sound);
        }
        ui.separator();
    }
    match sound {
        Sound::Entry(entry) => of_entry(ui, view, library.as_ref(), entry),
        Sound::Take(take) => {
            let is_unknown = matches!(looked_up, Some((id, None)) if *id == take.id);
            if is_unknown && library.is_some() && item(ui, "Keep in the library") {
                view.session.keep(take);
            }
            of_take(ui, view, take, entry);
        }
    }
}

/// What can be done with what is in the library.
fn kept(ui: &mut Ui, view: &View, library: &LibraryWorker, entry: &Entry, sound: Sound) {
    let text = if entry.is_favourite { "No longer a favourite" } else { "Favourite" };
    if item(ui, text) {
        library.set_favourite(entry.id, !entry.is_favourite);
        again(view, sound);
    }
    let name = || Editing::Name(entry.name().into_owned());
    let tags = || Editing::Tags(entry.tags.join(", "));
    let clicked = if stays(ui, "Rename…") { Some(name()) } else { None };
    let clicked = if stays(ui, "Tags…") { Some(tags()) } else { clicked };
    if let Some(editing) = clicked {
        ui.data_mut(|data| data.insert_temp(editing_id(), editing));
        ui.memory_mut(|memory| memory.request_focus(field_id()));
    }
}

/// What can be done with what is in the library and has no file.
fn missing(ui: &mut Ui, view: &View, library: &LibraryWorker, entry: &Entry, sound: Sound) {
    ui.label(RichText::new("Its file is not in its place.").font(theme::font(11.0)).color(theme::dim()));
    if let Sound::Take(take) = sound
        && item(ui, "Write it again")
    {
        view.session.keep(take);
    }
    if item(ui, "Look again") {
        library.refresh();
        again(view, sound);
    }
    if item(ui, "Find its file…") {
        view.session.find_entry_file(entry.id);
    }
    if item(ui, "Forget it") {
        library.forget(entry.id);
    }
}

fn of_entry(ui: &mut Ui, view: &View, library: Option<&LibraryWorker>, entry: &Entry) {
    if item(ui, "Bring back its text and seed") {
        view.session.recall_origin(&entry.provenance());
    }
    if entry.is_missing {
        return;
    }
    file(ui, view, Some(&entry.path), || Original::Entry(entry.id, entry.name().into_owned()));
    ui.separator();
    if let Some(library) = library
        && item(ui, "Move to the rubbish bin")
    {
        library.trash(entry.id);
    }
}

fn of_take(ui: &mut Ui, view: &View, take: &Arc<Take>, entry: Option<&Entry>) {
    if item(ui, "Bring back its text and seed") {
        view.session.recall(take.id);
    }
    let path = entry.map(|entry| entry.path.clone()).or_else(|| take.file.get());
    file(ui, view, path.as_ref(), || Original::Take(Arc::clone(take)));
    ui.separator();
    if item(ui, "Remove from the list") {
        view.session.discard(&[take.id]);
    }
}

/// What can be done with the file of a sound.
fn file(ui: &mut Ui, view: &View, path: Option<&PathBuf>, original: impl FnOnce() -> Original) {
    if let Some(path) = path {
        if item(ui, "Show in folder") {
            view.session.show_in_folder(path.clone());
        }
        if item(ui, "Copy path") {
            ui.ctx().copy_text(path.display().to_string());
        }
    }
    if item(ui, "Save as…") {
        view.session.save_as(original());
    }
}

/// A field for the name or the tags.
fn edit(ui: &mut Ui, view: &View, library: &LibraryWorker, entry: &Entry, sound: Sound, editing: Editing) {
    let (title, hint, mut text) = match &editing {
        Editing::Name(text) => ("Name of the file", "a name", text.clone()),
        Editing::Tags(text) => ("Tags, with commas between", "wet, metal", text.clone()),
    };
    ui.label(RichText::new(title).font(theme::font(11.0)).color(theme::dim()));
    let field = TextEdit::singleline(&mut text).id(field_id()).hint_text(hint).char_limit(MOST_CHARS);
    let response =
        ui.add(field.margin(theme::FIELD_MARGIN).background_color(theme::well()).desired_width(WIDTH));
    name_field(&response, title);
    let is_entered = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    let editing = match editing {
        Editing::Name(_) => Editing::Name(text),
        Editing::Tags(_) => Editing::Tags(text),
    };
    let is_done = ui.horizontal(|ui| {
        let is_done = text_button(ui, "Save", "Enter").clicked() || is_entered;
        if text_button(ui, "Cancel", "Escape").clicked() {
            ui.close();
        }
        is_done
    });
    if !is_done.inner {
        ui.data_mut(|data| data.insert_temp(editing_id(), editing));
        return;
    }
    match editing {
        Editing::Name(name) => view.session.rename_entry(entry.id, name),
        Editing::Tags(tags) => library.set_tags(entry.id, tags.split(',').map(str::to_owned).collect()),
    }
    again(view, sound);
    ui.close();
}

/// The entry of a take has changed.
fn again(view: &View, sound: Sound) {
    if let Sound::Take(take) = sound {
        view.session.look_up(take);
    }
}

/// A line of the menu that closes it; whether it was clicked.
fn item(ui: &mut Ui, text: &str) -> bool {
    let is_clicked = stays(ui, text);
    if is_clicked {
        ui.close();
    }
    is_clicked
}

/// A line of the menu that leaves it open; whether it was clicked.
fn stays(ui: &mut Ui, text: &str) -> bool {
    let button = Button::new(text).frame_when_inactive(false).min_size(vec2(WIDTH, 22.0));
    ui.add(button).clicked()
}
