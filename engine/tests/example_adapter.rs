//! The example adapter in `assets/` is one that the default pack takes.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use soundlocd_engine::lora::{AdapterFile, BaseId};
use soundlocd_engine::pack::Pack;
use std::path::Path;

#[test]
fn the_example_adapter_fits_the_default_pack() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/adapters/keyboards.safetensors");
    assert!(path.metadata().unwrap().len() <= 2_000_000);
    let (file, pack) = (AdapterFile::open(&path).unwrap(), Pack::embedded().unwrap());
    file.check_base(&BaseId::of(&pack)).unwrap();
    file.fit(&pack.manifest().transformer).unwrap();
    let card = file.card().unwrap();
    assert!(!card.licence.is_empty() && !card.triggers.is_empty());
}
