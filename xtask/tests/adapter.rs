//! `cargo xtask train adapter` on a small imported pack: what is trained and what is not, runs that are killed, and what
//! becomes of the file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use common::{Scratch, imported, refuse, succeed, xtask};
use soundlocd_engine::lora::{AdapterFile, Projection, trainable_parameters};
use soundlocd_engine::pack::{Pack, Part};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Recordings of beeps and noise with captions, prepared.
fn prepared(scratch: &Scratch) -> PathBuf {
    let mut list = String::from("id\tfile\tcategory\tcaption\tsplit\n");
    for n in 0..12_u32 {
        let name = format!("{n}.wav");
        let path = scratch.write(&format!("recordings/{name}"), b"");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 22_050,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        let hz = 200.0 * f64::from(n + 1);
        for i in 0..4000 + 500 * n {
            let phase = f64::from(i) / 22_050.0 * hz * std::f64::consts::TAU;
            writer.write_sample((phase.sin() * 12_000.0) as i16).unwrap();
        }
        writer.finalize().unwrap();
        let split = if n % 4 == 3 { "valid" } else { "train" };
        let word = ["low", "middle", "high"][n as usize / 4];
        list += &format!("{n}\t{name}\tTONES\tA {word} tone beeps\t{split}\n");
    }
    scratch.write("recordings/manifest.tsv", list.as_bytes());
    let cache = scratch.path("cache");
    succeed(&["data", "prepare"], &[("--data", &scratch.path("recordings")), ("--out", &cache)]);
    cache
}

const TRAIN: [&str; 13] = [
    "train",
    "adapter",
    "--steps",
    "40",
    "--tokens",
    "60",
    "--rank",
    "2",
    "--lr",
    "0.01",
    "--accumulate",
    "2",
    "--title=Beeps",
];

/// The values of an adapter's tensors, by name.
fn values(path: &Path) -> Vec<(String, Vec<f32>)> {
    let tensors = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
    let mut values: Vec<(String, Vec<f32>)> = tensors
        .into_iter()
        .map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap()))
        .collect();
    values.sort_by(|a, b| a.0.cmp(&b.0));
    values
}

/// The lines in the log of the run that makes an adapter: of which split and step each is.
fn logged(out: &Path) -> Vec<(String, u64)> {
    let log = fs::read_to_string(out.with_extension("run").join("metrics.jsonl")).unwrap();
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    log.lines()
        .map(parse)
        .map(|v| (v["split"].as_str().unwrap().to_owned(), v["step"].as_u64().unwrap()))
        .collect()
}

#[test]
fn an_adapter_is_trained_used_and_refused() {
    let scratch = Scratch::new("adapter");
    let (pack_folder, cache, out) =
        (imported(&scratch), prepared(&scratch), scratch.path("beeps.safetensors"));
    let hashes = |folder: &Path| {
        Part::ALL.map(|part| {
            soundlocd_engine::pack::sha256_hex(&fs::read(folder.join(format!("{part}.safetensors"))).unwrap())
        })
    };
    let before = hashes(&pack_folder);
    let peft = scratch.path("peft");
    let paths: &[(&str, &Path)] =
        &[("--pack", &pack_folder), ("--data", &cache), ("--out", &out), ("--peft", &peft)];
    let printed = succeed(&[&TRAIN[..], &["--contrastive", "5e-5", "--dropout", "0.1"]].concat(), paths);
    assert!(printed.contains("9 recordings to learn from, 3 to judge by"), "{printed}");
    // The base is as it was.
    assert_eq!(hashes(&pack_folder), before);

    let pack = Pack::open(&pack_folder).unwrap();
    let file = AdapterFile::open(&out).unwrap();
    let adapter = file.fit(&pack.manifest().transformer).unwrap();
    let expected = trainable_parameters(&pack.manifest().transformer, &Projection::ALL, 2);
    assert_eq!((adapter.parameters(), file.rank(), file.alpha()), (expected, 2, 2.0));
    let card = file.card().unwrap();
    assert_eq!((card.title.as_str(), card.base.pack.as_str(), card.data.clips), ("Beeps", pack.hash(), 9));
    assert_eq!(card.triggers, ["A high tone beeps", "A low tone beeps", "A middle tone beeps"]);
    assert_eq!(card.training["dropout"], 0.1);
    let (found, base) = ("valid_cross_entropy", "valid_cross_entropy_of_base");
    assert!(card.training[found].as_f64() < card.training[base].as_f64(), "{:?}", card.training);
    // B has left zero.
    let moved = values(&out).into_iter().filter(|(name, _)| name.ends_with("lora_B.weight"));
    assert!(moved.clone().count() > 0 && moved.clone().all(|(_, b)| b.iter().any(|x| *x != 0.0)));
    let run = out.with_extension("run");
    for name in
        ["curves.png", "listening.png", "metrics.jsonl", "listening/01-before.wav", "listening/01-after.wav"]
    {
        assert!(run.join(name).metadata().is_ok_and(|file| file.len() > 40), "{name}");
    }

    // PEFT's folder holds the same.
    assert_eq!(AdapterFile::open(&peft).unwrap().hash(), file.hash());
    let inspected = succeed(&["adapter", "inspect", out.to_str().unwrap()], &[("--pack", &pack_folder)]);
    assert!(
        ["Beeps", "A low tone beeps", "It is for the pack"].iter().all(|part| inspected.contains(part)),
        "{inspected}"
    );

    // The sound changes, at strength 0 it does not.
    let generate = |name: &str, adapter: Option<String>| {
        let wav = scratch.path(name);
        let mut args = vec![
            "generate",
            "A low tone beeps",
            "--seconds",
            "0.4",
            "--steps",
            "4",
            "--seed",
            "3",
            "--device",
            "cpu",
        ];
        let adapter = adapter.unwrap_or_default();
        if !adapter.is_empty() {
            args.extend(["--adapter", &adapter]);
        }
        succeed(&args, &[("--pack", &pack_folder), ("--out", &wav)]);
        hound::WavReader::open(wav).unwrap().into_samples::<i32>().map(Result::unwrap).collect::<Vec<i32>>()
    };
    let plain = generate("plain.wav", None);
    assert_eq!(generate("zero.wav", Some(format!("{}:0", out.display()))), plain);
    assert_ne!(generate("two.wav", Some(format!("{}:2", out.display()))), plain);

    // Not for the default pack, whatever the user insists on: the shapes do not fit.
    let use_it = ["generate", "a beep", "--device", "cpu", "--adapter", out.to_str().unwrap()];
    let nowhere = scratch.path("nowhere.wav");
    refuse(&use_it, &[("--out", &nowhere)], &["Beeps was made for", "--force-base"]);
    refuse(&[&use_it[..], &["--force-base"]].concat(), &[("--out", &nowhere)], &["expected the shape"]);
    refuse(
        &["generate", "x", "--adapter", out.to_str().unwrap(), "--adapter", "missing.safetensors"],
        &[("--pack", &pack_folder)],
        &["missing.safetensors"],
    );
}

#[test]
fn a_killed_run_ends_as_if_nobody_had_touched_it() {
    let scratch = Scratch::new("killed-adapter");
    let (pack, cache) = (imported(&scratch), prepared(&scratch));
    let (whole, killed) = (scratch.path("whole.safetensors"), scratch.path("killed.safetensors"));
    let args = [&TRAIN[..], &["--save-every", "0"]].concat();
    let of_whole: [(&str, &Path); 3] = [("--pack", &pack), ("--data", &cache), ("--out", &whole)];
    let of_killed: [(&str, &Path); 3] = [("--pack", &pack), ("--data", &cache), ("--out", &killed)];
    succeed(&args, &of_whole);

    // Killed three times, at whatever it is doing some time after its next checkpoint.
    let checkpoint = killed.with_extension("run").join("checkpoint.safetensors");
    let mut kills = 0;
    for delay in [5, 40, 90] {
        let mut child = xtask(&args, &of_killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let modified = || checkpoint.metadata().and_then(|file| file.modified()).ok();
        let (before, start) = (modified(), Instant::now());
        while modified() == before
            && child.try_wait().unwrap().is_none()
            && start.elapsed() < Duration::from_secs(60)
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(delay));
        // SIGKILL, where there are signals.
        child.kill().unwrap();
        kills += usize::from(!child.wait().unwrap().success());
    }
    assert!(kills > 0, "the run was over before it could be killed");
    succeed(&args, &of_killed);
    assert_eq!(values(&whole), values(&killed));
    assert_eq!(logged(&whole), logged(&killed));

    // Going on with other settings would be neither the one run nor the other.
    refuse(&[&args[..], &["--dropout", "0.5"]].concat(), &of_killed, &["dropout", "started with"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_same_command_goes_on() {
    let scratch = Scratch::new("stopped-adapter");
    let (pack, cache) = (imported(&scratch), prepared(&scratch));
    let (whole, stopped) = (scratch.path("whole.safetensors"), scratch.path("stopped.safetensors"));
    // No checkpoint but that of the end.
    let args = [&TRAIN[..], &["--save-every", "100000"]].concat();
    let of_whole: [(&str, &Path); 3] = [("--pack", &pack), ("--data", &cache), ("--out", &whole)];
    let of_stopped: [(&str, &Path); 3] = [("--pack", &pack), ("--data", &cache), ("--out", &stopped)];
    succeed(&args, &of_whole);

    let run = stopped.with_extension("run");
    let mut steps = Vec::new();
    // As soon as it trains, and after its first validation.
    for lines in [0, 1] {
        let child = xtask(&args, &of_stopped).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let is_there = || {
            let log = fs::read_to_string(run.join("metrics.jsonl"));
            log.is_ok_and(|log| log.lines().count() >= lines)
        };
        let start = Instant::now();
        while !is_there() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let sent = Command::new("sh").args(["-c", &format!("kill -s INT {}", child.id())]).status().unwrap();
        assert!(sent.success(), "the run was over before it could be stopped");
        let output = child.wait_with_output().unwrap();
        let (printed, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {said}", output.status);
        assert!(said.contains("stopping after this step"), "{said}");
        assert!(
            printed.contains("of 40; saved in") && printed.contains("the same command goes on"),
            "{printed}"
        );
        let bytes = fs::read(run.join("checkpoint.safetensors")).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let step: u64 = header.metadata().as_ref().unwrap()["step"].parse().unwrap();
        assert!(printed.contains(&format!("stopped at step {step} of")), "{step}: {printed}");
        // What there is so far can be used.
        AdapterFile::open(&stopped).unwrap();
        steps.push(step);
    }
    assert!(steps[0] < steps[1] && (20..40).contains(&steps[1]), "{steps:?}");
    succeed(&args, &of_stopped);
    assert_eq!(values(&whole), values(&stopped));
    assert_eq!(logged(&whole), logged(&stopped));
}
