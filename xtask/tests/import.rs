//! `cargo xtask import` with small checkpoints in the published layouts: what comes out is what went in, it makes sound,
//! and what is wrong with a file is said by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use candle_core::{DType, Device, Tensor};
use common::{Scratch, imported, published, refuse, succeed};
use soundlocd_engine::checkpoint::Checkpoint;
use soundlocd_engine::codec::vqgan::Vqgan;
use soundlocd_engine::layers::kernel::Precision;
use soundlocd_engine::pack::{CodecConfig, Pack, Part, VocoderConfig};
use soundlocd_engine::service::SamplerKind;
use soundlocd_engine::vocoder::melgan::MelGan;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name);
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

const IMPORT: [&str; 4] = ["import", "diffsound", "--heads", "4"];

fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let difference = (found - expected).unwrap().abs().unwrap().flatten_all().unwrap();
    let difference = difference.max(0).unwrap().to_scalar::<f32>().unwrap();
    assert!(difference <= tolerance, "they differ by {difference}");
}

#[test]
fn an_imported_pack_works_wherever_a_pack_does() {
    let scratch = Scratch::new("import");
    let pack = imported(&scratch);
    succeed(&["pack", "verify", pack.to_str().unwrap()], &[]);
    let inspected = succeed(&["pack", "inspect", pack.to_str().unwrap()], &[]);
    for part in ["diffsound_small", "LicenseRef-unknown", "\"clip\"", "\"melgan\"", "194,896 (194,896 F32)"] {
        assert!(inspected.contains(part), "no {part} in {inspected}");
    }
    let manifest = Pack::open(&pack).unwrap().manifest().clone();
    assert_eq!((manifest.transformer.rows, manifest.transformer.max_columns), (4, 8));
    assert_eq!((manifest.transformer.heads, manifest.codec.frames_per_column()), (4, 2));
    let recommended = &manifest.recommended;
    assert_eq!((recommended.steps, recommended.sampler), (100, SamplerKind::Ancestral));
    assert_eq!((recommended.truncation, recommended.guidance), (0.85, 1.0));
    assert_eq!((manifest.schedule.keep, manifest.schedule.mask), ((0.99999, 0.000_009), (0.000_009, 0.9)));

    let wav = scratch.path("a.wav");
    succeed(
        &["generate", "a dog barks", "--seed", "1", "--steps", "8"],
        &[("--pack", &pack), ("--out", &wav)],
    );
    // Two columns' worth of the 8 x 2 x 256 samples at least, at 24 bits and another rate.
    assert!(fs::metadata(&wav).unwrap().len() > 1000);
    let benched = succeed(&["bench", "--runs", "1", "--steps", "2", "--json"], &[("--pack", &pack)]);
    assert!(benched.contains("\"pack\": \"diffsound_small\""), "{benched}");
}

#[test]
fn the_moving_averages_are_taken() {
    let scratch = Scratch::new("import-ema");
    let weights = Pack::open(&imported(&scratch)).unwrap().weights(Part::Transformer).unwrap();
    let checkpoint = Checkpoint::open(&published("diffsound_small.pth")).unwrap();
    let (ema, model) = (
        checkpoint.state_dict(&["ema"]).unwrap().unwrap(),
        checkpoint.state_dict(&["model"]).unwrap().unwrap(),
    );
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (ours, theirs, transposed) in [
        ("content_emb.emb.weight", "transformer.content_emb.emb.weight", false),
        ("blocks.1.self_attn.q.weight", "transformer.blocks.1.attn1.query.weight", true),
        ("blocks.0.mlp.fc2.weight", "transformer.blocks.0.mlp.2.weight", true),
        ("head.proj.bias", "transformer.to_logits.1.bias", false),
    ] {
        let turn = |tensor: Tensor| if transposed { tensor.t().unwrap() } else { tensor };
        let found = values(&weights.tensor(ours).unwrap());
        assert_eq!(found, values(&turn(ema.tensor(theirs).unwrap())), "{ours}");
        assert_ne!(found, values(&turn(model.tensor(&format!("transformer.{theirs}")).unwrap())), "{ours}");
    }
}

/// The fixtures come of the reference classes with the very weights of these checkpoints.
#[test]
fn the_parts_compute_what_the_reference_does() {
    let scratch = Scratch::new("import-parity");
    let pack = Pack::open(&imported(&scratch)).unwrap();
    let weights = |part| pack.weights(part).unwrap().into_var_builder(&Device::Cpu);
    let (VocoderConfig::Melgan(vocoder), CodecConfig::Vqgan(codec)) =
        (&pack.manifest().vocoder, &pack.manifest().codec)
    else {
        panic!("another architecture");
    };
    let vocoder = MelGan::new(vocoder, Precision::F32, weights(Part::Vocoder)).unwrap();
    let expected = fixture("melgan.safetensors");
    let wave = vocoder.forward(&expected["mel"]).unwrap();
    assert_close(&wave, &expected["wav"].squeeze(1).unwrap(), 1e-4);

    let codec = Vqgan::new(codec, Precision::F32, weights(Part::Codec)).unwrap();
    let expected = fixture("codec.safetensors");
    let ids = expected["rand_tokens_timemajor"].to_dtype(DType::U32).unwrap();
    assert_close(&codec.decode(&ids, 4).unwrap(), &expected["rand_decoded"], 1e-4);
}

#[test]
fn the_codec_inside_the_model_will_do() {
    let scratch = Scratch::new("import-inside");
    let (inside, beside) = (scratch.path("inside"), scratch.path("beside"));
    let (model, codec, vocoder) =
        (published("diffsound_small.pth"), published("vqvae_small.ckpt"), published("melgan_small.pt"));
    let common: [(&str, &Path); 2] = [("--diffsound", &model), ("--vocoder", &vocoder)];
    succeed(&IMPORT, &[&common[..], &[("--out", &inside)]].concat());
    succeed(&IMPORT, &[&common[..], &[("--vqvae", &codec), ("--out", &beside)]].concat());
    // All of it, to the last byte.
    let hash = |folder: &Path| Pack::open(folder).unwrap().hash().to_owned();
    assert_eq!(hash(&inside), hash(&beside));
    // As does its text tower, alone.
    let tower = scratch.path("tower");
    succeed(&["import", "clip"], &[("--weights", &model), ("--out", &tower)]);
    let tokenizer = |folder: &Path| fs::read(folder.join("tokenizer.json")).unwrap();
    assert!(tokenizer(&tower) == tokenizer(&inside));
    let tensors =
        |folder: &Path| candle_core::safetensors::load(folder.join("text.safetensors"), &Device::Cpu);
    let (alone, within) = (tensors(&tower).unwrap(), tensors(&inside).unwrap());
    assert_eq!(alone.len(), within.len());
    for (name, tensor) in alone {
        assert_close(
            &tensor.to_dtype(DType::F32).unwrap(),
            &within[&name].to_dtype(DType::F32).unwrap(),
            0.0,
        );
    }
    // And instead of the model's own.
    let weights = tower.join("text.safetensors");
    refuse(
        &IMPORT,
        &[&common[..], &[("--clip", &weights), ("--out", &scratch.path("other"))]].concat(),
        &["text.safetensors is not a text encoder of the kind clip"],
    );
}

#[test]
fn single_parts_go_into_packs() {
    let scratch = Scratch::new("import-single");
    let (vocoder, tower, pack) = (scratch.path("vocoder"), scratch.path("tower"), scratch.path("pack"));
    succeed(&["import", "melgan"], &[("--weights", &published("melgan_small.pt")), ("--out", &vocoder)]);
    succeed(&["import", "clip"], &[("--weights", &published("diffsound_small.pth")), ("--out", &tower)]);
    succeed(
        &["pack", "build", "--name", "mixed", "--licence", "CC0-1.0"],
        &[("--vocoder", &vocoder.join("vocoder.safetensors")), ("--text", &tower), ("--out", &pack)],
    );
    let pack = Pack::open(&pack).unwrap();
    assert!(matches!(pack.manifest().vocoder, VocoderConfig::Melgan(_)));
    assert_eq!(pack.manifest().text.kind().name(), "clip");
    assert_eq!(pack.summary(Part::Vocoder).unwrap().parameters, 321_065);
}

/// Tries to import `diffsound`, and beside it the small codec and vocoder.
fn refuse_model(diffsound: &Path, parts: &[&str]) {
    let scratch = Scratch::new("import-refused");
    let paths: [(&str, &Path); 4] = [
        ("--diffsound", diffsound),
        ("--vqvae", &published("vqvae_small.ckpt")),
        ("--vocoder", &published("melgan_small.pt")),
        ("--out", &scratch.path("pack")),
    ];
    refuse(&IMPORT, &paths, parts);
    assert!(scratch.is_empty(), "something was left behind");
}

#[test]
fn misshapen_and_foreign_checkpoints_are_refused_by_name() {
    refuse_model(
        &published("diffsound_bad_shape.pth"),
        &["diffsound_bad_shape.pth", "transformer.blocks.1.attn1.key.weight", "[64, 64]", "[64, 65]"],
    );
    refuse_model(
        &published("wrong_kind.pth"),
        &["not a Diffsound checkpoint", "transformer.content_emb.emb.weight", "at the top is: model"],
    );
    let (codec, vocoder) = (published("vqvae_small.ckpt"), published("melgan_small.pt"));
    refuse_model(&codec, &["not a Diffsound checkpoint", "state_dict"]);
    let scratch = Scratch::new("import-foreign");
    let (model, out) = (published("diffsound_small.pth"), scratch.path("pack"));
    let common: [(&str, &Path); 2] = [("--diffsound", &model), ("--out", &out)];
    refuse(
        &IMPORT,
        &[&common[..], &[("--vqvae", &vocoder), ("--vocoder", &vocoder)]].concat(),
        &["melgan_small.pt has no spectrogram codec", "quantize.embedding.weight"],
    );
    refuse(
        &IMPORT,
        &[&common[..], &[("--vqvae", &codec), ("--vocoder", &codec)]].concat(),
        &["vqvae_small.ckpt is not a MelGAN generator", "model.1.bias"],
    );
    refuse(
        &["import", "diffsound", "--heads", "3"],
        &[&common[..], &[("--vocoder", &vocoder)]].concat(),
        &["width 64 is not a multiple of 3 heads"],
    );
    refuse(
        &["import", "t5"],
        &[("--weights", &vocoder), ("--out", &out)],
        &["not a text encoder of the kind t5"],
    );
    assert!(scratch.is_empty());
}

/// The safetensors file of a checkpoint's tensors, changed by `change`.
fn rewritten(scratch: &Scratch, change: impl Fn(&mut HashMap<String, Tensor>)) -> PathBuf {
    let checkpoint = Checkpoint::open(&published("melgan_small.pt")).unwrap();
    let dict = checkpoint.state_dict(&[]).unwrap().unwrap();
    let mut tensors = dict.names().map(|name| (name.to_owned(), dict.tensor(name).unwrap())).collect();
    change(&mut tensors);
    let path = scratch.path("changed.safetensors");
    candle_core::safetensors::save(&tensors, &path).unwrap();
    path
}

#[test]
fn missing_unexpected_and_unusable_tensors_are_listed() {
    let scratch = Scratch::new("import-tensors");
    let out = scratch.path("out");
    let refuse = |path: &Path, parts: &[&str]| {
        refuse(&["import", "melgan"], &[("--weights", path), ("--out", &out)], parts);
        assert!(!out.exists());
    };
    let path = rewritten(&scratch, |tensors| {
        tensors.remove("model.3.weight_v");
        let gain = tensors.remove("model.24.weight_g").unwrap();
        tensors.insert("model.24.weight_h".into(), gain);
    });
    refuse(
        &path,
        &[
            "model.3.weight_v [128, 64, 16] is missing",
            "model.24.weight_g [1, 1, 1] is missing",
            "model.24.weight_h [1, 1, 1] is not expected",
        ],
    );
    let fill = |value: f32| {
        rewritten(&scratch, |tensors| {
            let bias = &tensors["model.8.weight_v"];
            let broken = (bias.ones_like().unwrap() * f64::from(value)).unwrap();
            tensors.insert("model.8.weight_v".into(), broken);
        })
    };
    refuse(&fill(f32::NAN), &["model.8.weight", "not a finite number"]);
    refuse(&fill(f32::INFINITY), &["model.8.weight", "not a finite number"]);
    let path = rewritten(&scratch, |tensors| {
        let gain = (&tensors["model.1.weight_g"] * 1e9).unwrap();
        tensors.insert("model.1.weight_g".into(), gain);
    });
    refuse(&path, &["model.1.weight", "too large for f16"]);
    succeed(&["import", "melgan", "--storage", "bf16"], &[("--weights", &path), ("--out", &out)]);
}

#[test]
fn another_noise_schedule_is_refused() {
    let scratch = Scratch::new("import-schedule");
    let mut bytes = fs::read(published("diffsound_small.pth")).unwrap();
    // One step's logarithm, wherever it is stored: of the model and of its average.
    let checkpoint = Checkpoint::open(&published("diffsound_small.pth")).unwrap();
    let stored = checkpoint.state_dict(&["ema"]).unwrap().unwrap().raw_values("log_bt").unwrap();
    let pattern: Vec<u8> = stored[50..53].iter().flat_map(|log| log.to_le_bytes()).collect();
    let mut places = 0;
    for at in 0..bytes.len() - 12 {
        if bytes[at..at + 12] == pattern {
            bytes[at..at + 4].copy_from_slice(&(stored[50] + 0.1).to_le_bytes());
            places += 1;
        }
    }
    assert!(places > 0);
    refuse_model(&scratch.write("other.pth", &bytes), &["log_bt[50] is"]);
}

/// A zip archive of one stored file `x/data.pkl`, by hand.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let name = b"x/data.pkl";
    let size = (pickle.len() as u32).to_le_bytes();
    // Nothing checks the sum of a file that is refused before.
    let shared = [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..], &[0; 4], &size, &size, &[10, 0, 0, 0]].concat();
    let local = [b"PK\x03\x04", &shared[..], name, pickle].concat();
    let central = [b"PK\x01\x02\x14\x00", &shared[..], &[0; 14], name].concat();
    let end = [
        &b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..],
        &(central.len() as u32).to_le_bytes(),
        &(local.len() as u32).to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    [local, central, end].concat()
}

#[test]
fn hostile_files_are_refused_and_run_nothing() {
    let scratch = Scratch::new("import-hostile");
    let witness = scratch.path("witness");
    let command = format!("touch {}", witness.display());
    let evil = [
        &b"\x80\x02}X\x05\0\0\0modelcos\nsystem\nX"[..],
        &(command.len() as u32).to_le_bytes(),
        command.as_bytes(),
        b"\x85Rs.",
    ]
    .concat();
    refuse_model(&scratch.write("evil.pth", &archive(&evil)), &["evil.pth is refused", "os.system"]);
    assert!(!witness.exists());
    // Otherwise the same file, with a harmless value: so much for the archive.
    let harmless = scratch.write("harmless.pth", &archive(b"\x80\x02}X\x05\0\0\0modelNs."));
    refuse_model(&harmless, &["not a Diffsound checkpoint", "model"]);

    let good = fs::read(published("diffsound_small.pth")).unwrap();
    for part in [0, 1, 2, 5, 9] {
        let cut = scratch.write("cut.pth", &good[..good.len() * part / 10]);
        refuse_model(&cut, &["cut.pth cannot be used as a checkpoint"]);
    }
    refuse_model(&scratch.path("nothing.pth"), &["nothing.pth cannot be read"]);
    refuse_model(&scratch.write("picture.pth", b"\x89PNG\r\n\x1a\n"), &["neither a PyTorch checkpoint"]);
}

#[test]
fn a_folder_that_is_there_already_is_left_alone() {
    let scratch = Scratch::new("import-existing");
    let out = scratch.path("out");
    fs::create_dir(&out).unwrap();
    let weights = published("melgan_small.pt");
    succeed(&["import", "melgan"], &[("--weights", &weights), ("--out", &out)]);
    let before = fs::read(out.join("vocoder.safetensors")).unwrap();
    refuse(
        &["import", "melgan", "--storage", "f32"],
        &[("--weights", &weights), ("--out", &out)],
        &["exists already"],
    );
    assert!(before == fs::read(out.join("vocoder.safetensors")).unwrap());
}
