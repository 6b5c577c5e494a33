#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::write_adapter;

/// A folder of its own for a test.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("soundlocd-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn base(name: &str) -> BaseId {
    BaseId { name: name.into(), pack: name.repeat(8), ..BaseId::default() }
}

fn choose(found: &Found, title: &str) -> ChosenAdapter {
    let listed = found.library.adapters().iter().find(|listed| listed.title == title).unwrap();
    ChosenAdapter { is_on: true, ..ChosenAdapter::of(listed, listed.adapter.as_ref().unwrap()) }
}

fn scan(folder: &Path, chosen: &[ChosenAdapter]) -> Found {
    Found::look_beside(Library::scan_places(Some(folder), None), chosen)
}

#[test]
fn a_choice_reads_back_and_what_is_none_is_refused() {
    let adapter = ChosenAdapter {
        hash: "ab".repeat(32),
        path: "/a b/“c”.safetensors".into(),
        title: "Old Typewriters".into(),
        triggers: vec!["a typewriter types fast".into()],
        is_on: true,
        strength: 1.5,
        force_base: false,
    };
    let value = adapter.to_value();
    let text = value.to_string();
    assert_eq!(ChosenAdapter::from_value(&serde_json::from_str(&text).unwrap()), Some(adapter.clone()));

    let with = |name: &str, new: Value| {
        let mut value = value.clone();
        value[name] = new;
        ChosenAdapter::from_value(&value)
    };
    for (name, new) in [
        ("hash", json!("../".repeat(22))),
        ("hash", json!(7)),
        ("path", Value::Null),
        ("title", json!(["x"])),
        ("triggers", json!([1])),
        ("triggers", json!("x")),
        ("on", json!("yes")),
        ("strength", json!("1")),
        ("force_base", Value::Null),
    ] {
        assert_eq!(with(name, new.clone()), None, "{name}: {new}");
    }
    for (strength, kept) in [(json!(-1), 0.0), (json!(1e300), MAX_STRENGTH), (json!(0.25), 0.25)] {
        assert_eq!(with("strength", strength).unwrap().strength, kept);
    }
    let long = with("title", json!(format!("a\0\n{}", "b".repeat(9_999)))).unwrap();
    assert_eq!((long.title.chars().count(), &long.title[..2]), (MAX_LINE, "ab"));
    let many = with("triggers", json!(vec!["x".repeat(999); 999])).unwrap().triggers;
    assert_eq!((many.len(), many[0].len()), (MAX_TRIGGERS, MAX_LINE));
}

#[test]
fn lists_of_hostile_projects_are_bounded() {
    let adapter = |n: usize| {
        json!({"hash": format!("{n:064x}"), "path": "", "title": "", "triggers": [], "on": true, "strength": 1,
            "force_base": false})
    };
    let (chosen, is_damaged) = from_value(&json!((0..1_000).map(adapter).collect::<Vec<_>>()));
    assert_eq!((chosen.len(), is_damaged), (MAX_CHOSEN, true));
    assert_eq!(chosen.iter().filter(|adapter| adapter.is_on).count(), MAX_ADAPTERS);
    // One twice, and one that is none.
    let (chosen, is_damaged) = from_value(&json!([adapter(1), adapter(1), 3]));
    assert_eq!((chosen.len(), is_damaged), (1, true));
    assert_eq!(from_value(&Value::Null), (Vec::new(), false));
    assert_eq!(from_value(&json!({})), (Vec::new(), true));
}

#[test]
fn what_can_be_used_is_listed_and_asked_for() {
    let folder = folder("adapters-ready");
    write_adapter(&folder.join("b.safetensors"), "Bells", &base("Big"), &["a bell rings"]);
    write_adapter(&folder.join("t.safetensors"), "a typewriter", &base("Big"), &[]);
    std::fs::write(folder.join("broken.safetensors"), b"no").unwrap();
    let found = scan(&folder, &[]);
    let big = base("Big");
    let rows = found.rows(&[], Some(&big));
    assert_eq!(
        rows.iter().map(|row| row.title).collect::<Vec<_>>(),
        ["a typewriter", "Bells", "broken.safetensors"]
    );
    assert_eq!(rows[1].triggers(), ["a bell rings"]);
    assert!(matches!(&rows[2].standing, Standing::Broken(reason) if reason.ends_with('.')), "{rows:?}");
    assert_eq!(rows[2].hash(), None);

    let bells = ChosenAdapter { strength: 0.5, ..choose(&found, "Bells") };
    let off = ChosenAdapter { is_on: false, ..choose(&found, "a typewriter") };
    let silent = ChosenAdapter { strength: 0.0, ..choose(&found, "a typewriter") };
    // Switching on moves nothing.
    let chosen = [bells.clone(), off.clone()];
    let titles: Vec<&str> = found.rows(&chosen, Some(&big)).iter().map(|row| row.title).collect();
    assert_eq!(titles, ["a typewriter", "Bells", "broken.safetensors"]);
    let expected = AdapterRef {
        path: folder.join("b.safetensors"),
        hash: bells.hash.clone(),
        strength: 0.5,
        force_base: false,
    };
    for others in [off, silent] {
        let references = references(&[bells.clone(), others], Some(&found), Some(&big));
        assert_eq!(references, Ok(vec![expected.clone()]));
    }
    assert_eq!(references(std::slice::from_ref(&bells), None, Some(&big)), Err(Refusal::Unknown));
    // Nothing to look for.
    assert_eq!(references(&[], None, None), Ok(Vec::new()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_base_is_said_in_words_and_may_be_insisted_on() {
    let folder = folder("adapters-base");
    write_adapter(&folder.join("b.safetensors"), "Bells", &base("Big"), &[]);
    write_adapter(
        &folder.join("v.safetensors"),
        "Version",
        &BaseId { pack: "old".into(), ..base("Small") },
        &[],
    );
    let found = scan(&folder, &[]);
    let small = base("Small");
    let bells = choose(&found, "Bells");
    let Err(Refusal::Unavailable(reason)) =
        references(std::slice::from_ref(&bells), Some(&found), Some(&small))
    else {
        unreachable!()
    };
    assert!(reason.starts_with(
        "The adapter “Bells” does not suit this model. It was made for “Big”, not for “Small”. Switch it off"
    ));
    assert_eq!(
        Standing::of(&choose(&found, "Version"), Some(&found), Some(&small)),
        Standing::OtherBase("It was made for another version of “Small”.".into())
    );
    // Not the news of a project that opens.
    assert_eq!(notice(std::slice::from_ref(&bells), Some(&found)), None);

    let forced = [ChosenAdapter { force_base: true, ..bells }];
    let references = references(&forced, Some(&found), Some(&small)).unwrap();
    assert!(references[0].force_base);
    let rows = found.rows(&forced, Some(&small));
    assert_eq!(rows[0].forced.as_deref(), Some("It was made for “Big”, not for “Small”."));
    assert_eq!(found.rows(&forced, Some(&base("Big")))[0].forced, None);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn files_are_found_by_their_hash_where_they_were_and_in_the_library() {
    let folder = folder("adapters-moved");
    let (library, elsewhere) = (folder.join("library"), folder.join("elsewhere"));
    std::fs::create_dir_all(&library).unwrap();
    std::fs::create_dir_all(&elsewhere).unwrap();
    let first = elsewhere.join("bells.safetensors");
    write_adapter(&first, "Bells", &base("Big"), &[]);
    let bells = choose(&scan(&elsewhere, &[]), "Bells");
    let ready = |path: &Path| Standing::Ready(path.to_owned());
    let standing = || {
        let chosen = [bells.clone()];
        let found = scan(&library, &chosen);
        assert_eq!(found.rows(&chosen, None).len(), 1);
        Standing::of(&bells, Some(&found), None)
    };
    assert_eq!(standing(), ready(&first));
    // Renamed.
    let second = elsewhere.join("glockenspiel.safetensors");
    std::fs::rename(&first, &second).unwrap();
    assert_eq!(standing(), ready(&second));
    // Moved into the library.
    let third = library.join("x.safetensors");
    std::fs::rename(&second, &third).unwrap();
    assert_eq!(standing(), ready(&third));
    // Gone.
    std::fs::remove_file(&third).unwrap();
    assert_eq!(standing(), Standing::Missing);
    // Another one in its place, and then none at all.
    write_adapter(&first, "Whistles", &base("Big"), &[]);
    assert!(matches!(standing(), Standing::Broken(reason) if reason.contains("changed since")));
    std::fs::write(&first, b"no").unwrap();
    assert!(matches!(standing(), Standing::Broken(_)));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_gone_is_named_with_its_place() {
    let adapter = |title: &str| ChosenAdapter {
        hash: "ab".repeat(32),
        path: "/adapters/x.safetensors".into(),
        title: title.into(),
        triggers: Vec::new(),
        is_on: true,
        strength: 1.0,
        force_base: false,
    };
    let found = Found::default();
    assert_eq!(
        notice(&[adapter("Old Typewriters")], Some(&found)).unwrap(),
        "The adapter “Old Typewriters” is not on this computer: it was at /adapters/x.safetensors. The sounds in this \
         project play all the same."
    );
    let many: Vec<ChosenAdapter> = ["A", "B", "C", "D", "E"].map(adapter).into();
    assert!(
        notice(&many, Some(&found)).unwrap().starts_with(
            "5 adapters of this project cannot be used here: “A”, “B”, “C” and 2 more. The sounds"
        )
    );
    assert_eq!(notice(&many, None), None, "nobody has looked");
    let off = ChosenAdapter { is_on: false, ..adapter("A") };
    assert_eq!(notice(std::slice::from_ref(&off), Some(&found)), None);
    assert_eq!(references(&[off], Some(&found), None), Ok(Vec::new()));
    let Err(Refusal::Unavailable(reason)) = references(&[adapter("A")], Some(&found), None) else {
        unreachable!()
    };
    assert!(
        reason.ends_with(
            "Switch it off to make sounds without it, or find the file and drop it on this window."
        )
    );
}

#[test]
fn captions_go_into_the_prompt_once() {
    assert_eq!(with_caption("", "a bell rings"), "a bell rings");
    assert_eq!(with_caption("rain, ", "a bell rings"), "rain, a bell rings");
    assert_eq!(with_caption("rain, A bell rings", "a bell rings"), "rain, A bell rings");
}

#[test]
fn only_what_may_be_an_adapter_is_read() {
    let folder = folder("adapters-picked");
    assert_eq!(picked(&folder), Ok(folder.clone()));
    assert_eq!(picked(&folder.join(WEIGHTS_FILE)), Ok(folder.clone()));
    for name in ["A.SafeTensors", "old.ckpt"] {
        assert_eq!(picked(Path::new(name)), Ok(name.into()));
    }
    for name in ["kick.wav", "README", ""] {
        assert!(picked(Path::new(name)).is_err());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn projects_cannot_make_us_look_at_other_computers() {
    let may: &[(&str, bool)] = if cfg!(windows) {
        &[(r"C:\a.safetensors", true), (r"\\evil\share\a.safetensors", false), (r"\\.\pipe\a", false)]
    } else {
        &[("/a.safetensors", true), ("a.safetensors", false), ("", false)]
    };
    for (path, may) in may {
        assert_eq!(may_read(Path::new(path)), *may, "{path}");
    }
}
