#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::testing::{Folder, tiny};
use super::*;
use crate::weights::{Storage, encode};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// Opens, checks and loads the pack, which must fail with a message about `part`.
fn refuse(folder: &Folder, part: &str) {
    let result = Pack::open(&folder.0).and_then(|pack| pack.verify()?.load(&Device::Cpu));
    let message = result.expect_err("the pack was accepted").to_string();
    assert!(message.contains(part), "{message:?} does not speak of {part:?}");
}

#[test]
fn a_pack_opens_and_encodes() {
    let folder = tiny();
    let pack = Pack::open(&folder.0).unwrap();
    pack.verify().unwrap();
    assert!(pack.load(&Device::Cpu).unwrap().parameters > 30_522 * 8);
    assert_eq!(pack.manifest().name, "tiny");
    assert_eq!(pack.hash(), sha256_hex(&folder.read(MANIFEST_FILE)));
    let encoder = pack.text_encoder(&Device::Cpu).unwrap();
    assert_eq!(encoder.encode("a dog").unwrap().features.dims(), [1, 4, 8]);
}

#[test]
fn sha256_agrees_with_the_standard() {
    // FIPS 180-2, appendix B.1.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256_hex(b"abc"), expected);
}

#[test]
fn missing_files_are_named() {
    refuse(&Folder::new(), "is not a model pack");
    for name in ["tokenizer.json", "text.safetensors", "vocoder.safetensors"] {
        let folder = tiny();
        std::fs::remove_file(folder.0.join(name)).unwrap();
        refuse(&folder, &format!("{name} is missing"));
    }
    let not_a_folder = Pack::open(Path::new("/dev/null")).unwrap_err().to_string();
    assert!(not_a_folder.contains("is not a model pack"), "{not_a_folder}");
}

#[test]
fn truncated_lengthened_and_flipped_files_are_named() {
    for name in ["tokenizer.json", "text.safetensors", "codec.safetensors"] {
        let folder = tiny();
        let good = folder.read(name);
        folder.write(name, &good[..good.len() - 1]);
        refuse(
            &folder,
            &format!("{name} of the model pack has {} bytes instead of {}", good.len() - 1, good.len()),
        );
        folder.write(name, &[&good[..], b"x"].concat());
        refuse(&folder, &format!("{name} of the model pack has"));
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        folder.write(name, &flipped);
        refuse(&folder, &format!("{name} of the model pack is damaged or of another pack: its SHA-256"));
    }
}

#[test]
fn another_parts_weights_are_recognised() {
    let folder = tiny();
    folder.replace(Part::Codec, &folder.read("vocoder.safetensors"));
    refuse(&folder, "codec.safetensors of the model pack holds the weights of a vocoder");
}

#[test]
fn weights_that_do_not_fit_the_architecture_are_named() {
    let folder = tiny();
    folder.edit_manifest("\"intermediate_size\": 16", "\"intermediate_size\": 17");
    refuse(&folder, "text.safetensors");
    refuse(&folder, "intermediate.dense.weight");
}

#[test]
fn manifests_that_cannot_be_are_refused() {
    let cases = [
        ("\"format\": 1", "\"format\": 2", "format 2"),
        ("\"name\": \"tiny\"", "\"name\": \" \"", "no name"),
        ("\"licence\"", "\"license\"", "license"),
        ("text.safetensors", "../text.safetensors", "names the file \"../text.safetensors\""),
        ("text.safetensors", "/etc/passwd", "names the file"),
        ("text.safetensors", "..", "names the file"),
        ("text.safetensors", "a\\\\b", "names the file"),
        ("text.safetensors", "C:x", "names the file"),
        ("text.safetensors", "", "names the file"),
        ("text.safetensors", "Codec.safetensors", "named twice"),
        ("text.safetensors", "pack.json", "named twice"),
        ("\"bytes\": ", "\"bytes\": -", "pack.json is not valid"),
        ("\"bytes\": ", "\"bytes\": 99999999999", "more than"),
        ("\"sha256\": \"", "\"sha256\": \"zz", "sha256"),
        ("\"minilm\"", "\"maxilm\"", "maxilm"),
        ("\"steps\": ", "\"steps\": 1000", "steps"),
    ];
    for (from, to, expected) in cases {
        let folder = tiny();
        folder.edit_manifest(from, to);
        refuse(&folder, expected);
    }
    let folder = tiny();
    for json in [&b""[..], b"[]", b"\xFF\xFE", b"{\"format\": 1}"] {
        folder.write(MANIFEST_FILE, json);
        refuse(&folder, "pack.json is not valid");
    }
    folder.write(MANIFEST_FILE, &vec![b' '; (1 << 20) + 1]);
    refuse(&folder, "more than the");
}

#[test]
fn a_part_without_weights_yet_says_so() {
    let folder = tiny();
    folder.replace(Part::Vocoder, b"");
    refuse(&folder, "the vocoder has not been trained yet");
}

#[test]
fn summaries_need_only_the_header() {
    let pack = Pack::embedded().unwrap();
    for part in Part::ALL {
        let (summary, weights) = (pack.summary(part).unwrap(), pack.weights(part).unwrap());
        assert_eq!(summary.parameters, weights.parameters());
        assert_eq!(summary.parameters, summary.types.values().sum::<u64>());
    }
    let folder = tiny();
    let pack = Pack::open(&folder.0).unwrap();
    assert_eq!(pack.summary(Part::Codec).unwrap().types.keys().collect::<Vec<_>>(), ["F16"]);
    let bytes = folder.read("codec.safetensors");
    folder.write("codec.safetensors", &bytes[..8]);
    assert!(pack.summary(Part::Codec).unwrap_err().to_string().contains("has 8 bytes"));
}

#[test]
fn a_tensor_too_many_is_named() {
    let folder = tiny();
    let weights = Pack::open(&folder.0).unwrap().weights(Part::Vocoder).unwrap();
    let mut tensors: BTreeMap<String, Tensor> = weights.tensors().unwrap().into_iter().collect();
    tensors.insert("extra".into(), Tensor::new(&[1f32], &Device::Cpu).unwrap());
    folder.replace(Part::Vocoder, &encode("vocoder", &tensors, |_, _| Storage::F32).unwrap());
    refuse(&folder, "extra [1] is not expected");
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = tiny();
    let one = BTreeMap::from([("w".to_owned(), Tensor::new(&[1f32], &Device::Cpu).unwrap())]);
    folder.replace(Part::Codec, &encode("codec", &one, |_, _| Storage::F32).unwrap());
    refuse(&folder, "codec.safetensors of the model pack does not fit the codec that pack.json describes");
    refuse(&folder, "decoder.fine.0.dwconv.bias [8] is missing");
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    for (from, to, expected) in [
        ("\"cond_width\": 8", "\"cond_width\": 9", "widths of the text features are 8 and 9"),
        ("\"code_width\": 4,\n    \"codebook\": 16", "\"code_width\": 4,\n    \"codebook\": 17", "codebook"),
        ("\"timesteps\": 100", "\"timesteps\": 50", "timesteps"),
        ("\"rows\": 5", "\"rows\": 4", "grids of 5..=5 rows, not of 4"),
        ("\"heads\": 2", "\"heads\": 3", "not a multiple of 3 heads"),
        ("\"layers\": 2", "\"layers\": 4000000000", "layers"),
        ("\"kind\": \"patch\"", "\"kind\": \"batch\"", "batch"),
    ] {
        let folder = tiny();
        folder.edit_manifest(from, to);
        refuse(&folder, expected);
    }
}

/// The hashes of the compiled-in files, which loading takes on trust.
#[test]
fn the_default_pack_is_what_its_manifest_says() {
    let pack = Pack::embedded().unwrap();
    for file in pack.manifest().files.iter() {
        assert_eq!(sha256_hex(&pack.source.read(file).unwrap()), file.sha256, "{}", file.name);
    }
    let total: u64 = pack.manifest().files.iter().map(|file| file.bytes).sum();
    assert!(total <= 80_000_000, "the default pack has {total} bytes");
}

/// int8 storage of the published text encoder costs little: a cosine of at least 0.995 for every token of the
/// fixture's prompts (it is above 0.997 on all valid captions of the training data).
#[test]
fn the_default_text_encoder_is_close_to_the_published_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/text_minilm_real.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let expected = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let prompts: Vec<String> = serde_json::from_str(&header.metadata().as_ref().unwrap()["prompts"]).unwrap();
    let encoder = Pack::embedded().unwrap().text_encoder(&Device::Cpu).unwrap();
    let ours = encoder.encode_batch(&prompts).unwrap();
    let dot = |x: &Tensor, y: &Tensor| (x * y).unwrap().sum(2).unwrap();
    let theirs = &expected["out.last_hidden"];
    let norms = (dot(theirs, theirs) * dot(&ours.features, &ours.features)).unwrap().sqrt().unwrap();
    let cosines = (dot(theirs, &ours.features) / norms).unwrap().to_vec2::<f32>().unwrap();
    let mask = ours.mask.to_vec2::<f32>().unwrap();
    for (cosines, mask) in cosines.iter().zip(&mask) {
        for (cosine, _) in cosines.iter().zip(mask).filter(|(_, mask)| **mask == 1.0) {
            assert!(*cosine > 0.995, "cosine {cosine}");
        }
    }
}
