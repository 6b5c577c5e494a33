#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::data::scratch::Scratch;

/// Files that exist; nothing here decodes them.
fn with_files(test: &str, files: &[&str]) -> Scratch {
    let scratch = Scratch::new(test);
    for file in files {
        scratch.write(file, "");
    }
    scratch
}

fn read(scratch: &Scratch) -> Collection {
    Collection::read(scratch.folder(), &Options::default()).unwrap()
}

fn error(scratch: &Scratch) -> String {
    format!("{:#}", Collection::read(scratch.folder(), &Options::default()).unwrap_err())
}

/// Id, category and captions of each recording.
fn described(collection: &Collection) -> Vec<(&str, &str, Vec<&str>)> {
    collection
        .recordings
        .iter()
        .map(|r| (r.id.as_str(), r.category.as_str(), r.captions.iter().map(String::as_str).collect()))
        .collect()
}

fn splits(collection: &Collection) -> Vec<Split> {
    collection.recordings.iter().map(|recording| recording.split).collect()
}

fn skipped(collection: &Collection) -> Vec<String> {
    collection.skipped.iter().map(Skipped::to_string).collect()
}

#[test]
fn manifest_with_columns_in_any_order() {
    let scratch = with_files("manifest", &["a/x1.opus"]);
    let text = "\u{feff}split\tcaption\tid\tlicence\tfile\tcategory\nvalid\tA \"bell\" rings\tx1\tCC0\ta/x1.opus\tbells\r\n\n";
    scratch.write("manifest.tsv", text);
    let collection = read(&scratch);
    assert_eq!(collection.kind, Kind::Manifest);
    assert_eq!(described(&collection), [("x1", "BELLS", vec!["A \"bell\" rings"])]);
    assert_eq!(splits(&collection), [Split::Valid]);
    assert_eq!(collection.recordings[0].file, scratch.folder().canonicalize().unwrap().join("a/x1.opus"));
    assert!(collection.skipped.is_empty());
}

#[test]
fn manifest_rows_that_cannot_be_used() {
    let scratch = with_files("manifest-bad", &["a.opus", "b.opus", "e.opus", "f.opus"]);
    let rows = [
        "id\tfile\tcategory\tcaption\tcaption2\tsplit",
        "a\ta.opus\tDOORS\tA door\tThe door\ttrain",
        "a\tb.opus\tDOORS\tA door\t\ttrain",
        "c\t../../etc/passwd\tDOORS\tA door\t\ttrain",
        "d\t/etc/passwd\tDOORS\tA door\t\ttrain",
        "e\te.opus\tDOORS\t\t\ttrain",
        "f\tf.opus\tDOORS\tA door\t\ttest",
        "g\tg.opus\tDOORS\tA door\t\ttrain",
        "h\th.opus",
    ];
    scratch.write("manifest.tsv", rows.join("\n"));
    let collection = read(&scratch);
    assert_eq!(described(&collection), [("a", "DOORS", vec!["A door", "The door"])]);
    assert_eq!(
        skipped(&collection),
        [
            "a: it is there twice, with two files",
            "c: '../../etc/passwd' is not a path inside the data set",
            "d: '/etc/passwd' is not a path inside the data set",
            "e: it has no caption",
            "line 7: split is 'test', not train or valid",
            "g: there is no file g.opus",
            "line 9: split is '', not train or valid",
        ]
    );

    scratch.write("manifest.tsv", "id\tfile\tcaption\tsplit\n");
    assert!(error(&scratch).contains("'category'"), "{}", error(&scratch));
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_not_followed() {
    let scratch = with_files("links", &["in/kick.wav", "elsewhere/secret.wav"]);
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(scratch.path(to), scratch.path(at)).unwrap();
    link("elsewhere/secret.wav", "in/secret.wav");
    link("elsewhere", "in/folder");
    link("in/kick.wav", "in/snare.wav");
    let collection = Collection::read(&scratch.path("in"), &Options::default()).unwrap();
    assert_eq!(
        described(&collection),
        [("kick.wav", UNSORTED, vec!["kick"]), ("snare.wav", UNSORTED, vec!["snare"])]
    );
    assert_eq!(skipped(&collection), ["secret.wav: 'secret.wav' is a link to a place outside the data set"]);
}

#[test]
fn metadata_csv() {
    let scratch = with_files("metadata", &["a.wav", "b/c.mp3", "d.flac"]);
    let text = "file_name,text,caption_2,split,category,licence\n\
                a.wav,\"A door, old, creaks\",Creaking,train,doors,CC0\n\
                b/c.mp3,Rain,,test,,CC0\n\
                b/c.mp3,Heavy rain,,test,,CC0\n\
                ../d.flac,Wind,,train,,\n\
                d.flac,,,train,,\n\
                d.flac,Wind,,maybe,,\n\
                ,Wind,,train,,\n";
    scratch.write("metadata.csv", text);
    let collection = read(&scratch);
    assert_eq!(collection.kind, Kind::Metadata);
    let expected = [
        ("a.wav", "DOORS", vec!["A door, old, creaks", "Creaking"]),
        ("b/c.mp3", UNSORTED, vec!["Rain", "Heavy rain"]),
    ];
    assert_eq!(described(&collection), expected);
    assert_eq!(splits(&collection), [Split::Train, Split::Valid]);
    assert_eq!(
        skipped(&collection),
        [
            "../d.flac: '../d.flac' is not a path inside the data set",
            "d.flac: it has no caption",
            "metadata.csv, line 7: split is 'maybe', not train, valid or test",
            "metadata.csv, line 8: it names no file",
        ]
    );

    scratch.write("metadata.csv", "file;caption\nd.flac;Wind, cold\n");
    assert_eq!(described(&read(&scratch)), [("d.flac", UNSORTED, vec!["Wind, cold"])]);
    std::fs::rename(scratch.path("metadata.csv"), scratch.path("captions.csv")).unwrap();
    assert_eq!(described(&read(&scratch)), [("d.flac", UNSORTED, vec!["Wind, cold"])]);
    scratch.write("metadata.csv", "file_name,label\na.wav,door\n");
    assert!(
        error(&scratch).contains("'caption'") && error(&scratch).contains("label"),
        "{}",
        error(&scratch)
    );
    scratch.write("metadata.csv", b"file_name,caption\na.wav,M\xfccke\n");
    assert!(error(&scratch).contains("UTF-8"), "{}", error(&scratch));
}

#[test]
fn metadata_jsonl_in_folders_of_splits() {
    let scratch = with_files("jsonl", &["train/a.wav", "test/b.wav", "test/c.wav"]);
    scratch.write(
        "train/metadata.jsonl",
        "{\"file_name\": \"a.wav\", \"caption\": [\"One\", \"Two\"], \"n\": 1}\n",
    );
    scratch.write(
        "test/metadata.jsonl",
        "\n{\"file_name\": \"b.wav\", \"description\": \"Three\"}\n[1]\n{\"file_na",
    );
    let collection = read(&scratch);
    assert_eq!(
        described(&collection),
        [("train/a.wav", UNSORTED, vec!["One", "Two"]), ("test/b.wav", UNSORTED, vec!["Three"])]
    );
    assert_eq!(splits(&collection), [Split::Train, Split::Valid]);
    assert_eq!(collection.skipped.len(), 2, "{:?}", collection.skipped);
    assert_eq!(skipped(&collection)[0], "test/metadata.jsonl, line 3: it is no JSON object");
}

#[test]
fn audiocaps_whatever_its_clips_are_called() {
    let names = [
        "wavs/-0xTeKb_lGc.wav",
        "wavs/YbA1b2C3d4e5.flac",
        "clips/vfY_TJq7n_U_130.mp3",
        "clips/Yzliv8ZKj5pQ_20.000_30.000.wav",
        "raw/ms--ms--ms0_30000_40000.opus",
        "raw/103.ogg",
    ];
    let scratch = with_files("audiocaps", &names);
    let train = "audiocap_id,youtube_id,start_time,caption\n\
                 91139,-0xTeKb_lGc,30,A dog barks\n\
                 58146,bA1b2C3d4e5,0,\"Rain, then thunder\"\n\
                 7,not-there-00,10,A cat\n";
    let test = "audiocap_id,youtube_id,start_time,caption\n\
                101,vfY_TJq7n_U,130,A duck quacks\n\
                102,vfY_TJq7n_U,130,Ducks quack\n\
                1020,zliv8ZKj5pQ,20,A horn\n\
                1021,ms--ms--ms0,30,A bell\n\
                103,somewhere00,5,A train\n";
    scratch.write("audiocaps_train.csv", train);
    scratch.write("test.csv", test);
    scratch.write("other.csv", "a,b\n1,2\n");
    let collection = read(&scratch);
    assert_eq!(collection.kind, Kind::AudioCaps);
    let files =
        collection.recordings.iter().map(|r| r.file.file_name().unwrap().to_string_lossy().into_owned());
    assert_eq!(files.collect::<Vec<_>>(), names.map(|name| name.split_once('/').unwrap().1.to_owned()));
    assert_eq!(described(&collection)[1], ("bA1b2C3d4e5_0", UNSORTED, vec!["Rain, then thunder"]));
    assert_eq!(described(&collection)[2].2, ["A duck quacks", "Ducks quack"]);
    let (train, valid) = (Split::Train, Split::Valid);
    assert_eq!(splits(&collection), [train, train, valid, valid, valid, valid]);
    assert_eq!(
        skipped(&collection),
        ["audiocaps_train.csv: no clip found for 1 of its 3 rows, such as not-there-00"]
    );
}

#[test]
fn esc50_by_folds() {
    let files = ["audio/1-100032-A-0.wav", "audio/4-100038-A-14.wav", "audio/5-9032-A-0.wav"];
    let scratch = with_files("esc50", &files);
    let text = "filename,fold,target,category,esc10,src_file,take\n\
                1-100032-A-0.wav,1,0,dog,True,100032,A\n\
                4-100038-A-14.wav,4,14,chirping_birds,False,100038,A\n\
                5-9032-A-0.wav,5,0,dog,True,9032,A\n\
                5-1-A-1.wav,5,1,rooster,True,1,A\n";
    scratch.write("meta/esc50.csv", text);
    let collection = read(&scratch);
    assert_eq!(collection.kind, Kind::Esc50);
    assert_eq!(described(&collection)[1], ("4-100038-A-14", "CHIRPING BIRDS", vec!["birds chirp"]));
    let (train, valid) = (Split::Train, Split::Valid);
    assert_eq!(splits(&collection), [train, train, valid]);
    assert_eq!(skipped(&collection), ["5-1-A-1: there is no file audio/5-1-A-1.wav"]);

    let options = Options { folds: Some("4-5".parse().unwrap()) };
    let collection = Collection::read(scratch.folder(), &options).unwrap();
    assert_eq!(splits(&collection), [valid, train, train]);

    scratch.write("manifest.tsv", "id\tfile\tcategory\tcaption\tsplit\n");
    let message = Collection::read(scratch.folder(), &options).unwrap_err().to_string();
    assert!(message.contains("only ESC-50 has folds"), "{message}");
}

#[test]
fn folds_are_numbers_and_ranges_of_them() {
    for (text, folds) in
        [("1-4", vec![1, 2, 3, 4]), ("1,2, 3", vec![1, 2, 3]), ("5", vec![5]), ("1-2,5", vec![1, 2, 5])]
    {
        assert_eq!(text.parse::<Folds>().unwrap(), Folds(folds), "{text}");
    }
    for text in ["", "0", "6", "4-1", "1-", "a", "1-2-3", "1;2"] {
        assert!(text.parse::<Folds>().is_err(), "{text}");
    }
}

#[test]
fn names_where_there_is_no_list() {
    let files = [
        "Doors/heavy_creak 1.wav",
        "Doors/heavy_creak 2.wav",
        "Doors/._heavy_creak 2.wav",
        "__MACOSX/Doors/slam.wav",
        "Doors/cover.jpg",
        "kick.M4A",
        "0001.wav",
    ];
    let scratch = with_files("2024-11-03", &files);
    // The scratch folder's own name has words in it.
    let folder = scratch.path("2024");
    std::fs::create_dir(&folder).unwrap();
    for name in ["Doors", "__MACOSX", "kick.M4A", "0001.wav"] {
        std::fs::rename(scratch.path(name), folder.join(name)).unwrap();
    }
    let collection = Collection::read(&folder, &Options::default()).unwrap();
    assert_eq!(collection.kind, Kind::Names);
    let creak = vec!["door heavy creak", "heavy creak door"];
    assert_eq!(
        described(&collection),
        [
            ("Doors/heavy_creak 1.wav", "DOORS", creak.clone()),
            ("Doors/heavy_creak 2.wav", "DOORS", creak),
            ("kick.M4A", UNSORTED, vec!["kick"]),
        ]
    );
    assert_eq!(splits(&collection), [Split::Train; 3]);
    assert_eq!(skipped(&collection).len(), 1);
    assert!(skipped(&collection)[0].starts_with("0001.wav: neither its name"), "{:?}", collection.skipped);
}

#[test]
fn the_most_specific_list_wins_and_the_others_are_named() {
    let scratch = with_files("lists", &["a.wav"]);
    scratch.write("metadata.jsonl", "{\"file_name\": \"a.wav\", \"caption\": \"from JSON\"}");
    scratch.write("clips.csv", "youtube_id,start_time,caption\na,0,from AudioCaps\n");
    scratch.write("metadata.csv", "file_name,caption\na.wav,from CSV\n");
    let collection = read(&scratch);
    assert_eq!(described(&collection)[0].2, ["from CSV"]);
    assert_eq!(skipped(&collection).len(), 2, "{:?}", collection.skipped);
    assert!(skipped(&collection)[0].starts_with("metadata.jsonl: not read"));
    assert!(skipped(&collection)[1].starts_with("clips.csv: not read"));

    scratch
        .write("manifest.tsv", "id\tfile\tcategory\tcaption\tsplit\na\ta.wav\tX\tfrom the manifest\ttrain\n");
    assert_eq!(described(&read(&scratch))[0].2, ["from the manifest"]);
    assert_eq!(read(&scratch).skipped.len(), 3);
}

#[test]
fn a_folder_that_is_none_is_named() {
    let scratch = with_files("none", &["file"]);
    for name in ["file", "missing"] {
        let message = Collection::read(&scratch.path(name), &Options::default()).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
}
