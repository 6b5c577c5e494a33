//! `cargo xtask generate` from the outside: sounds that repeat, and every kind of bad input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A fresh folder, removed at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("soundlocd-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of all files in the folder.
    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `generate PROMPT --out FILE ARGS`.
fn generate(prompt: &str, out: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("generate")
        .arg(prompt)
        .arg("--out")
        .arg(out)
        .args(args)
        .output()
        .unwrap()
}

/// What a run printed for a person to read.
fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The run made a sound: the file is there and its data is neither empty nor silent.
fn assert_sound(output: &Output, out: &Path) {
    assert!(output.status.success(), "{}", messages(output));
    let bytes = fs::read(out).unwrap();
    assert_eq!((&bytes[..4], &bytes[8..12]), (b"RIFF".as_slice(), b"WAVE".as_slice()));
    let data = wav_data(&bytes);
    let loudest = data
        .chunks_exact(3)
        .map(|sample| i32::from_le_bytes([0, sample[0], sample[1], sample[2]]).unsigned_abs())
        .max();
    assert!(loudest > Some(1 << 24), "{loudest:?} is below -42 dBFS");
}

/// The `data` chunk of a WAV file: the sound alone, without date or provenance.
fn wav_data(wav: &[u8]) -> &[u8] {
    let mut at = 12;
    loop {
        let size = u32::from_le_bytes(wav[at + 4..at + 8].try_into().unwrap()) as usize;
        if &wav[at..at + 4] == b"data" {
            return &wav[at + 8..at + 8 + size];
        }
        // Chunks are padded to even sizes.
        at += 8 + size + size % 2;
    }
}

/// The run was refused with a message that has `reason` in it, without a panic and without leaving
/// a file behind.
fn assert_refused(output: &Output, out: &Path, reason: &str) {
    let text = messages(output);
    assert!(!output.status.success(), "this was accepted");
    assert!(text.to_lowercase().contains(&reason.to_lowercase()), "no {reason:?} in: {text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(!out.is_file() || fs::metadata(out).unwrap().len() == 0, "a file was left at {}", out.display());
}

/// Settings that make a short sound quickly.
const QUICK: &[&str] = &["--seconds", "0.5", "--steps", "4"];

#[test]
fn the_same_seed_gives_the_same_sound() {
    let scratch = Scratch::new("seed");
    let sound = |name: &str, seed: &str| {
        let out = scratch.path(name);
        assert_sound(&generate("a wooden door creaks", &out, &[QUICK, &["--seed", seed]].concat()), &out);
        wav_data(&fs::read(out).unwrap()).to_vec()
    };
    let first = sound("a.wav", "7");
    assert_eq!(first, sound("b.wav", "7"), "the same seed, another sound");
    assert_ne!(first, sound("c.wav", "8"), "another seed, the same sound");
}

/// What a generation may take of a small computer's memory, in kB: goal of the project.
#[cfg(target_os = "linux")]
const MOST_KILOBYTES: u64 = 500_000;

#[cfg(target_os = "linux")]
#[test]
fn ten_seconds_fit_into_a_small_memory() {
    let scratch = Scratch::new("memory");
    let out = scratch.path("a.wav");
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["generate", "wind in the trees", "--seconds=9.8", "--steps=4", "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        // VmHWM is the kernel's own record of the peak, so that looking now and then is enough.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kibibytes) = peak.and_then(|peak| peak.trim().strip_suffix(" kB")) {
            most = kibibytes.parse::<u64>().unwrap() * 1024 / 1000;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(out.exists());
    assert!(0 < most && most < MOST_KILOBYTES, "{most} kB");
}

#[test]
fn variations_are_files_of_their_own() {
    let scratch = Scratch::new("variations");
    let out = scratch.path("hit.wav");
    let output = generate("a metal hit", &out, &[QUICK, &["--variations", "3", "--seed", "1"]].concat());
    assert!(output.status.success(), "{}", messages(&output));
    let files = scratch.files();
    assert_eq!(files.len(), 3, "{files:?}");
    let sounds: Vec<_> =
        files.iter().map(|name| wav_data(&fs::read(scratch.path(name)).unwrap()).to_vec()).collect();
    assert!(sounds[0] != sounds[1] && sounds[1] != sounds[2] && sounds[0] != sounds[2]);
}

#[test]
fn any_script_and_any_symbol_may_be_typed() {
    let scratch = Scratch::new("scripts");
    let prompts =
        ["🔔🔔🔔", "طرق على الباب", "דפיקה", "鐘の音", "a\u{1}b\u{7f}\u{200b}c", "ＷＩＤＥ ﷽ Z͑ͫ̓a̴l̷g̸o̶"];
    for (n, prompt) in prompts.iter().enumerate() {
        let out = scratch.path(&format!("{n}.wav"));
        assert_sound(&generate(prompt, &out, QUICK), &out);
    }
}

#[test]
fn prompts_without_words_are_refused() {
    let scratch = Scratch::new("empty");
    let out = scratch.path("a.wav");
    for prompt in ["", "   ", "\t\n", "\u{1}\u{2}"] {
        assert_refused(&generate(prompt, &out, &[]), &out, "prompt is empty");
    }
}

#[test]
fn endless_prompts_are_refused() {
    let scratch = Scratch::new("long");
    let out = scratch.path("a.wav");
    assert_refused(&generate(&"rain ".repeat(2_000), &out, &[]), &out, "too long");
}

#[test]
fn impossible_lengths_are_refused() {
    let scratch = Scratch::new("lengths");
    let out = scratch.path("a.wav");
    for seconds in ["0", "-1", "NaN", "inf", "3600", "1e30"] {
        assert_refused(&generate("rain", &out, &[&format!("--seconds={seconds}")]), &out, "length");
    }
    assert_refused(&generate("rain", &out, &["--seconds=long"]), &out, "--seconds");
}

#[test]
fn impossible_settings_are_refused() {
    let scratch = Scratch::new("settings");
    let out = scratch.path("a.wav");
    for (argument, reason) in [
        ("--steps=0", "steps"),
        ("--steps=1000000", "steps"),
        ("--guidance=NaN", "guidance"),
        ("--guidance=-3", "guidance"),
        ("--variations=0", "variations"),
        ("--variations=1000", "variations"),
        ("--sample-rate=0", "rate"),
        ("--sample-rate=10000000", "rate"),
        ("--seed=-1", "seed"),
        ("--device=toaster", "device"),
    ] {
        assert_refused(&generate("rain", &out, &[argument]), &out, reason);
    }
}

#[test]
fn unwritable_output_is_reported() {
    let scratch = Scratch::new("unwritable");
    let nowhere = scratch.path("no/such/folder/a.wav");
    assert_refused(&generate("rain", &nowhere, QUICK), &nowhere, "no/such/folder");
    let file = scratch.path("file");
    fs::write(&file, "a file, not a folder").unwrap();
    let inside = file.join("a.wav");
    assert_refused(&generate("rain", &inside, QUICK), &inside, &file.to_string_lossy());
    let music = scratch.path("a.mp3");
    assert_refused(&generate("rain", &music, QUICK), &music, ".wav");
}

/// The disk fills up while the sound is written: here a limit on the size of files, which any user
/// can set. What was there before must survive.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_and_keeps_the_old_file() {
    let scratch = Scratch::new("full");
    let out = scratch.path("a.wav");
    fs::write(&out, "an older sound").unwrap();
    // With the signal ignored, writing beyond the limit fails as it does on a full disk.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_xtask"), "generate", "rain", "--out"])
        .arg(&out)
        .args(QUICK)
        .output()
        .unwrap();
    let text = messages(&output);
    assert!(!output.status.success(), "this was accepted");
    assert!(text.contains(&*out.to_string_lossy()) && !text.contains("panicked"), "{text}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "an older sound");
    assert_eq!(scratch.files(), ["a.wav"], "half-written files were left");
}

/// The default pack's folder in the source tree.
fn default_pack() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pack")
}

/// A copy of the default pack in `scratch`.
fn copy_pack(scratch: &Scratch) -> PathBuf {
    let folder = scratch.path("pack");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(default_pack()).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    folder
}

#[test]
fn a_pack_may_be_a_folder() {
    let scratch = Scratch::new("pack");
    let (inside, outside) = (scratch.path("inside.wav"), scratch.path("outside.wav"));
    let seed = [QUICK, &["--seed", "3"]].concat();
    assert_sound(&generate("rain", &inside, &seed), &inside);
    let folder = default_pack();
    let with_pack = [seed.as_slice(), &["--pack", folder.to_str().unwrap()]].concat();
    assert_sound(&generate("rain", &outside, &with_pack), &outside);
    assert_eq!(wav_data(&fs::read(inside).unwrap()), wav_data(&fs::read(outside).unwrap()));
}

#[test]
fn a_pack_may_be_named() {
    let scratch = Scratch::new("pack-name");
    let folder = copy_pack(&scratch);
    let path = folder.join("pack.json");
    let manifest = fs::read_to_string(&path).unwrap();
    fs::write(&path, manifest.replace("SoundLoCD default", "Hall of Doors")).unwrap();
    let run = |name: &str, out: &Path| {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["generate", "rain", "--seed=3", "--pack", name, "--out"])
            .arg(out)
            .args(QUICK)
            .env("SOUNDLOCD_PACKS", &scratch.0)
            .output()
            .unwrap()
    };
    let out = scratch.path("a.wav");
    let output = run("hall of doors", &out);
    assert_sound(&output, &out);
    assert!(String::from_utf8_lossy(&output.stdout).contains("loaded Hall of Doors"));
    let out = scratch.path("b.wav");
    let output = run("hall of windows", &out);
    assert_refused(&output, &out, "neither a folder nor the name");
    assert!(messages(&output).contains("Hall of Doors"), "{}", messages(&output));
}

#[test]
fn broken_packs_are_refused_and_name_the_file() {
    type Damage = fn(&Path);
    let damages: &[(&str, &str, Damage)] = &[
        ("an empty folder", "pack.json", |pack| {
            fs::remove_dir_all(pack).unwrap();
            fs::create_dir(pack).unwrap();
        }),
        ("no folder", "pack", |pack| fs::remove_dir_all(pack).unwrap()),
        ("a file is missing", "codec.safetensors", |pack| {
            fs::remove_file(pack.join("codec.safetensors")).unwrap();
        }),
        ("a file is truncated", "vocoder.safetensors", |pack| {
            let path = pack.join("vocoder.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("a bit is flipped", "transformer.safetensors", |pack| {
            let path = pack.join("transformer.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("a file of another kind", "codec.safetensors", |pack| {
            fs::copy(pack.join("vocoder.safetensors"), pack.join("codec.safetensors")).unwrap();
        }),
        ("a picture in the place of the tokenizer", "tokenizer.json", |pack| {
            fs::write(pack.join("tokenizer.json"), b"\x89PNG\r\n\x1a\n").unwrap();
        }),
        ("a manifest that is no JSON", "pack.json", |pack| {
            fs::write(pack.join("pack.json"), b"model: big").unwrap();
        }),
        ("a manifest of the far future", "format", |pack| {
            let path = pack.join("pack.json");
            let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            manifest["format"] = 999.into();
            fs::write(path, manifest.to_string()).unwrap();
        }),
    ];
    for (what, named, damage) in damages {
        let scratch = Scratch::new("broken-pack");
        let pack = copy_pack(&scratch);
        damage(&pack);
        let out = scratch.path("a.wav");
        let output = generate("rain", &out, &[QUICK, &["--pack", pack.to_str().unwrap()]].concat());
        println!("{what}: {}", messages(&output));
        assert_refused(&output, &out, named);
    }
}
