//! The library beside the list of sounds, and what can be done with a sound.

use std::{
    fs,
    time::{Duration, Instant},
};

use egui_kittest::{SnapshotResults, kittest::Queryable};
use tempfile::TempDir;

use super::Stage;
use crate::library::{Entry, Shelf};

/// Draws until the library shows what it should.
fn wait(stage: &mut Stage, until: impl Fn(&Shelf) -> bool) -> Vec<Entry> {
    let start = Instant::now();
    loop {
        stage.harness.run_steps(1);
        if let Some(shelf) = stage.session.snapshot().shelf
            && let Some(page) = &shelf.page
            && until(&shelf)
        {
            return page.entries.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "the library does not show it");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A window that shows a library of three sounds: a favourite, one with tags, and one whose file is gone.
fn stage(is_light: bool) -> (Stage, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::usual(is_light).with_sounds();
    stage.session.use_library(Some(folder.path().to_owned()));
    for take in stage.session.with(|model| model.arrangement.takes.clone()) {
        stage.session.keep(&take);
    }
    stage.click("Library");
    let entries = wait(&mut stage, |shelf| shelf.page.as_ref().is_some_and(|page| page.total == 3));
    let library = stage.session.library().unwrap();
    library.set_favourite(entries[2].id, true);
    library.set_tags(entries[1].id, vec!["wet".to_owned(), "roof".to_owned()]);
    fs::remove_file(&entries[0].path).unwrap();
    library.refresh();
    wait(&mut stage, |shelf| shelf.page.as_ref().is_some_and(|page| page.entries[0].is_missing));
    (stage, folder)
}

#[test]
fn the_library_dark_and_light() {
    let mut results = SnapshotResults::new();
    for (is_light, name) in [(false, "library-dark"), (true, "library-light")] {
        let (stage, _folder) = stage(is_light);
        stage.snapshot(name, &mut results);
    }
}

#[test]
fn the_menu_of_a_sound() {
    let mut results = SnapshotResults::new();
    let (mut one, _folder) = stage(false);
    one.harness.get_by_label("Play a small metal bell rings 1").click_secondary();
    one.harness.run_steps(3);
    one.snapshot("library-menu", &mut results);
    let (mut one, _folder) = stage(false);
    one.harness.get_by_label("Play rain on a tin roof 2").click_secondary();
    one.harness.run_steps(3);
    one.click("Tags…");
    one.snapshot("library-tags", &mut results);
}

#[test]
fn the_search_narrows_and_a_name_is_typed_in_the_menu() {
    let (mut stage, folder) = stage(false);
    stage.harness.get_by_label("Play rain on a tin roof 2").click_secondary();
    stage.harness.run_steps(3);
    stage.click("Rename…");
    stage.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
    stage.harness.event(egui::Event::Text("Downpour".to_owned()));
    stage.harness.run_steps(3);
    stage.click("Save");
    wait(&mut stage, |shelf| shelf.page.as_ref().is_some_and(|page| page.entries[1].name() == "Downpour"));
    assert!(folder.path().join("Sounds/Downpour.wav").is_file());
    stage.click("Show favourites only");
    let left = wait(&mut stage, |shelf| shelf.page.as_ref().is_some_and(|page| page.total == 1));
    assert_eq!(left[0].name(), "a small metal bell rings 1");
    stage.click("Show all sounds");
    wait(&mut stage, |shelf| shelf.page.as_ref().is_some_and(|page| page.total == 3));
}
