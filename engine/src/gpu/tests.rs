#![allow(clippy::unwrap_used)]

use super::*;
use crate::pack::testing::{Folder, tiny};

#[test]
fn without_a_library_the_cpu_serves_and_only_an_order_fails() {
    let (pack, empty) = (tiny(), Folder::new());
    let pack = Pack::open(&pack.0).unwrap();
    let places = Places::folders([empty.0.clone()]);
    let generator = load(&pack, Choice::Auto, &places, true).unwrap();
    assert_eq!((generator.describe().name.as_str(), generator.notice()), ("tiny", None));
    let error = load(&pack, Choice::Cuda, &places, true).err().unwrap().to_string();
    assert!(error.contains("there is no GPU library") && error.contains(&file_name()), "{error}");
}

#[test]
fn a_file_that_is_no_library_is_told_and_the_cpu_serves() {
    let (pack, folder) = (tiny(), Folder::new());
    let pack = Pack::open(&pack.0).unwrap();
    folder.write(&file_name(), b"no library");
    let places = Places::folders([folder.0.clone()]);
    let notice = load(&pack, Choice::Auto, &places, true).unwrap().notice().unwrap();
    assert!(notice.starts_with("The sound is made on the CPU: the GPU library"), "{notice}");
    assert!(load(&pack, Choice::Cuda, &places, true).is_err());
    assert_eq!(load(&pack, Choice::Cpu, &places, true).unwrap().notice(), None);
}

#[test]
fn the_environment_comes_before_what_the_user_prefers() {
    // Nothing else in these tests asks for either.
    let said = std::env::var(DEVICE_VARIABLE).ok();
    for (choice, name) in [(Choice::Cuda, "cuda"), (Choice::Cpu, "cpu"), (Choice::Auto, "auto")] {
        prefer(choice);
        let expected = said.as_deref().unwrap_or(name);
        let found = Choice::from_environment().unwrap();
        assert_eq!(format!("{found:?}").to_lowercase(), expected);
    }
}
