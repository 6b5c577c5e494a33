#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::pack::testing::Folder;
use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::time::{Duration, Instant};
use zip::write::SimpleFileOptions;

/// A checkpoint in the published layouts.
fn published(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/checkpoints").join(name)
}

/// A zip archive as torch.save writes it.
fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("x/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    for (key, bytes) in storages {
        zip.start_file(format!("x/data/{key}"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn open(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let folder = Folder::new();
    folder.write("file.pth", bytes);
    Checkpoint::open(&folder.0.join("file.pth"))
}

/// Opening the file and looking for tensors at its top ends in a message with `reason`, quickly.
fn refuse(bytes: &[u8], reason: &str) {
    let start = Instant::now();
    let result = open(bytes).and_then(|checkpoint| checkpoint.state_dict(&[]).map(drop));
    let message = result.expect_err("the file was accepted").to_string();
    assert!(message.contains(reason), "no {reason:?} in {message:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{reason}: took {:?}", start.elapsed());
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn int(value: i64) -> Vec<u8> {
    [&b"\x8a\x08"[..], &value.to_le_bytes()].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", items.concat().as_slice(), b"t"].concat()
}

fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|value| int(*value)).collect::<Vec<_>>())
}

/// `_rebuild_tensor_v2` of floats in the storage "0".
fn tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let storage =
        tuple(&[text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), int(elements)]);
    let arguments = tuple(&[
        [storage.as_slice(), b"Q"].concat(),
        int(offset),
        ints(shape),
        ints(strides),
        b"\x89".to_vec(),
        b"ccollections\nOrderedDict\n)R".to_vec(),
    ]);
    [b"ctorch._utils\n_rebuild_tensor_v2\n", arguments.as_slice(), b"R"].concat()
}

/// A dictionary of one entry, as a whole pickle.
fn dict(key: &str, value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}", text(key).as_slice(), value, b"s."].concat()
}

fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

/// The values of the tensor "w" at the top of a file.
fn values(bytes: &[u8]) -> Vec<f32> {
    let folder = Folder::new();
    folder.write("file.pth", bytes);
    let checkpoint = Checkpoint::open(&folder.0.join("file.pth")).unwrap();
    checkpoint.state_dict(&[]).unwrap().unwrap().values("w").unwrap()
}

#[test]
fn a_published_vocoder_has_the_fixtures_tensors() {
    let checkpoint = Checkpoint::open(&published("melgan_small.pt")).unwrap();
    let dict = checkpoint.state_dict(&[]).unwrap().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/melgan.safetensors");
    let fixture: HashMap<String, Tensor> = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let weights: Vec<_> =
        fixture.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("w.")?, tensor))).collect();
    assert_eq!(weights.len(), dict.names().count());
    for (name, tensor) in weights {
        assert_eq!(dict.shape(name), Some(tensor.dims()), "{name}");
        assert_eq!(dict.values(name).unwrap(), tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    }
    // The fixture itself, as a checkpoint.
    let again = Checkpoint::open(&path).unwrap();
    let again = again.state_dict(&[]).unwrap().unwrap().below("w.");
    for name in dict.names() {
        assert_eq!(
            (again.shape(name), again.values(name).unwrap()),
            (dict.shape(name), dict.values(name).unwrap())
        );
    }
}

#[test]
fn nested_dictionaries_halves_and_integers_are_read() {
    let checkpoint = Checkpoint::open(&published("diffsound_small.pth")).unwrap();
    let model = checkpoint.state_dict(&["model"]).unwrap().unwrap();
    let ema = checkpoint.state_dict(&["ema"]).unwrap().unwrap();
    assert_eq!((model.names().count(), ema.names().count()), (261, 104));
    assert_eq!(model.shape("first_stage_permuter.forward_shuffle_idx"), Some(&[32][..]));
    assert!(!model.is_float("first_stage_permuter.forward_shuffle_idx"));
    assert!(model.values("first_stage_permuter.forward_shuffle_idx").is_err());
    let name = "condition_emb.text_projection";
    let halves = ema.values(name).unwrap();
    assert!(ema.is_float(name) && halves.iter().all(|v| half::f16::from_f32(*v).to_f32() == *v));
    assert_eq!(model.below("transformer.").full_name("log_at"), "transformer.log_at");
    assert!(checkpoint.state_dict(&["last_epoch"]).unwrap().is_none());
    assert!(checkpoint.state_dict(&["model", "nothing"]).unwrap().is_none());
    assert!(checkpoint.summary().contains("optimizer_and_scheduler"));
    // Logarithms of zero are no weights.
    assert!(ema.values("log_cumprod_ct").is_err());
    assert_eq!(ema.raw_values("log_cumprod_ct").unwrap().last(), Some(&f32::NEG_INFINITY));
}

#[test]
fn strides_and_offsets_are_followed() {
    let read = |offset, shape: &[i64], strides: &[i64]| {
        values(&archive(&dict("w", &tensor(6, offset, shape, strides)), &[("0", &floats(6))]))
    };
    assert_eq!(read(0, &[2, 3], &[3, 1]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(read(0, &[3, 2], &[1, 3]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(read(1, &[2], &[4]), [1.0, 5.0]);
    assert_eq!(read(5, &[], &[]), [5.0]);
    assert!(read(0, &[0, 3], &[3, 1]).is_empty());
}

#[test]
fn tensors_beyond_their_storage_are_refused_by_name() {
    let few = floats(6);
    for (elements, offset, shape, strides) in [
        (6, 0, &[2, 4][..], &[4, 1][..]),
        (6, 1, &[6], &[1]),
        (6, 0, &[3, 2], &[3, 1]),
        // Repeats: one stored element that stands for many.
        (6, 0, &[1 << 40], &[0]),
        (6, 0, &[i64::MAX, i64::MAX], &[1, 1]),
        (6, 0, &[2, 2], &[i64::MAX, i64::MAX]),
        (6, 0, &[-1], &[1]),
        (6, 0, &[2], &[-1]),
        (6, -1, &[2], &[1]),
        (6, i64::MAX, &[2], &[1]),
        // More declared than there is.
        (7, 0, &[6], &[1]),
        (i64::MAX, 0, &[6], &[1]),
        (6, 0, &[1; 9], &[1; 9]),
        (6, 0, &[2], &[1, 1]),
    ] {
        let bytes = archive(&dict("w", &tensor(elements, offset, shape, strides)), &[("0", &few)]);
        refuse(&bytes, "the tensor w ");
    }
    refuse(&archive(&dict("w", &tensor(6, 0, &[6], &[1])), &[("1", &few)]), "which is missing");
    refuse(&archive(&dict("w", &tensor(6, 0, &[1; 100], &[1; 100])), &[("0", &few)]), "100 dimensions");
}

#[test]
fn calls_are_refused_by_name_and_not_made() {
    let witness = std::env::temp_dir().join(format!("soundlocd-witness-{}", std::process::id()));
    let command = text(&format!("touch {}", witness.display()));
    let call =
        |name: &str| dict("w", &[name.as_bytes(), &tuple(std::slice::from_ref(&command)), b"R"].concat());
    for (name, shown) in [
        ("cos\nsystem\n", "os.system"),
        ("cposix\nsystem\n", "posix.system"),
        ("cbuiltins\neval\n", "builtins.eval"),
        ("csubprocess\nPopen\n", "subprocess.Popen"),
        ("ctorch\nload\n", "torch.load"),
        ("ctorch._utils\n_rebuild_tensor_v3\n", "torch._utils._rebuild_tensor_v3"),
        ("cnumpy.testing._private.utils\nrunstring\n", "numpy.testing._private.utils.runstring"),
        ("c__builtin__\ngetattr\n", "__builtin__.getattr"),
    ] {
        refuse(&archive(&call(name), &[]), shown);
    }
    // The name from the stack, as protocol 4 has it; as an object's class; and merely mentioned.
    let named = [text("os"), text("system"), b"\x93".to_vec()].concat();
    refuse(&archive(&dict("w", &[named.as_slice(), &tuple(&[command]), b"R"].concat()), &[]), "os.system");
    refuse(&archive(&dict("w", b"cos\nsystem\n)\x81"), &[]), "os.system");
    refuse(&archive(&dict("w", b"cos\nsystem\n"), &[]), "os.system");
    // Opcodes that call something on their own.
    refuse(&archive(&dict("w", b"(ios\nsystem\n"), &[]), "opcode 0x69 (i)");
    refuse(&archive(&dict("w", b"(o"), &[]), "opcode 0x6f (o)");
    // Terminals understand escape sequences.
    refuse(&archive(&dict("w", b"c\x1b[31mos\nsystem\n"), &[]), "\\u{1b}[31mos.system");
    assert!(!witness.exists());
}

#[test]
fn bystanders_of_training_are_read_over() {
    let callback = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n";
    let number =
        [b"cnumpy.core.multiarray\nscalar\n".as_slice(), &tuple(&[text("f8"), text("bytes")]), b"R"].concat();
    let pickle = [
        b"\x80\x02}(".as_slice(),
        callback,
        b"}",
        &text("lr"),
        &number,
        &text("w"),
        &tensor(2, 0, &[2], &[1]),
        b"u.",
    ]
    .concat();
    assert_eq!(values(&archive(&pickle, &[("0", &floats(2))])), [0.0, 1.0]);
}

#[test]
fn truncated_files_are_refused_wherever_they_end() {
    let good = std::fs::read(published("melgan_small.pt")).unwrap();
    let places =
        (0..=64).map(|part| part * (good.len() - 1) / 64).chain([1, 2, 3, 4, 5, 30, good.len() - 21]);
    for length in places {
        let result = open(&good[..length]).map(drop);
        assert!(result.is_err(), "the first {length} of {} bytes were accepted", good.len());
    }
}

#[test]
fn pickles_with_any_byte_wrong_do_no_harm() {
    let good = dict("w", &tensor(6, 0, &[2, 3], &[3, 1]));
    let storage = floats(6);
    for at in 0..good.len() {
        for wrong in [0x00, 0x28, 0x51, 0x52, 0x75, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = wrong;
            if let Ok(checkpoint) = open(&archive(&bad, &[("0", &storage)])) {
                let _ = checkpoint.state_dict(&[]);
            }
        }
    }
}

#[test]
fn compressed_archives_are_refused_unpacked() {
    // A bomb says that it is deflated, and gigabytes when inflated.
    let mut bomb = archive(&dict("w", &tensor(6, 0, &[6], &[1])), &[("0", &floats(6))]);
    for (signature, method, size) in [(b"PK\x03\x04", 8, 22), (b"PK\x01\x02", 10, 24)] {
        let places: Vec<usize> = (0..bomb.len() - 4).filter(|at| &bomb[*at..*at + 4] == signature).collect();
        for at in places {
            bomb[at + method] = 8;
            bomb[at + size..at + size + 4].copy_from_slice(&0xfff0_0000_u32.to_le_bytes());
        }
    }
    refuse(&bomb, "is compressed");
}

#[test]
fn overlapping_storages_are_refused() {
    let mut bytes = archive(&dict("w", &tensor(6, 0, &[6], &[1])), &[("0", &floats(6)), ("1", &floats(6))]);
    let records: Vec<usize> =
        (0..bytes.len() - 4).filter(|at| &bytes[*at..*at + 4] == b"PK\x01\x02").collect();
    let [_, first, second] = records[..] else { panic!("three files") };
    // Offsets of the local headers.
    bytes.copy_within(first + 42..first + 46, second + 42);
    refuse(&bytes, "overlap");
}

#[test]
fn nesting_and_repetition_have_limits() {
    refuse(&archive(&[b"\x80\x02".as_slice(), &vec![b'('; 1 << 20]].concat(), &[]), "nested too deeply");
    refuse(&archive(&[b"\x80\x02".as_slice(), &vec![b']'; 1 << 20]].concat(), &[]), "nested too deeply");
    // Two million lists, each in the next: parsed (nothing recurses), and nothing to find.
    let nested = [b"\x80\x02]".as_slice(), &b"]q\x00ah\x00".repeat(400_000), b"."].concat();
    let _ = open(&archive(&nested, &[])).map(|checkpoint| checkpoint.state_dict(&[]).map(drop));
    // A dictionary that holds the one before twice, 60 times over: 2^60 paths in a kilobyte.
    let mut bomb = b"\x80\x02}q\x00".to_vec();
    for level in 1..60u8 {
        let entry = [text("a"), vec![b'h', level - 1], text("b"), vec![b'h', level - 1]].concat();
        bomb.extend([b"}q".as_slice(), &[level], b"(", &entry, b"u"].concat());
    }
    bomb.push(b'.');
    refuse(&archive(&bomb, &[]), "more than");
    // A dictionary within itself.
    let circle = [b"\x80\x02}q\x00".as_slice(), &text("a"), b"h\x00s."].concat();
    refuse(&archive(&circle, &[]), "levels");
    // One list of pairs, made a dictionary of over and over.
    let pairs =
        [b"](".as_slice(), &[text("k"), b"K\x01\x86".to_vec()].concat().repeat(10_000), b"e"].concat();
    let again = b"ccollections\nOrderedDict\nh\x01\x85R0".repeat(1000);
    let copies = [b"\x80\x02", pairs.as_slice(), b"q\x01", &again, b"."].concat();
    refuse(&archive(&copies, &[]), "copies more than");
    refuse(&archive(&vec![b'N'; (16 << 20) + 1], &[]), "more than the 16777216 possible");
    refuse(&archive(&[b"\x80\x02".as_slice(), b"X\xff\xff\xff\x7fabc"].concat(), &[]), "truncated");
    refuse(
        &archive(&[b"\x80\x02".as_slice(), b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc"].concat(), &[]),
        "truncated",
    );
}

/// The format before 1.6: five pickles, then the storages.
fn legacy(pickle: &[u8], elements: u64, storage: &[u8]) -> Vec<u8> {
    let machine = [b"\x80\x02}".as_slice(), &text("little_endian"), b"\x88s."].concat();
    let keys = [b"\x80\x02]".as_slice(), &text("0"), b"a."].concat();
    let magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
    [magic.as_slice(), b"\x80\x02M\xe9\x03.", &machine, pickle, &keys, &elements.to_le_bytes(), storage]
        .concat()
}

#[test]
fn the_format_before_zip_is_read() {
    let pickle = dict("w", &tensor(6, 2, &[2, 2], &[2, 1]));
    let good = legacy(&pickle, 6, &floats(6));
    assert_eq!(values(&good), [2.0, 3.0, 4.0, 5.0]);
    for length in 16..good.len() {
        assert!(open(&good[..length]).is_err(), "the first {length} bytes were accepted");
    }
    refuse(&legacy(&pickle, u64::MAX, &floats(6)), "truncated");
    refuse(&legacy(&dict("w", b"cos\nsystem\n"), 6, &floats(6)), "os.system");
}

#[test]
fn modules_of_torchscript_count_as_dictionaries() {
    let module =
        |state: &[u8]| [b"c__torch__.a.___torch_mangle_1\nLayer\n)\x81}(".as_slice(), state, b"ub"].concat();
    let weight = [text("weight"), tensor(2, 0, &[2], &[1])].concat();
    let inner = module(&[text("training"), b"\x89".to_vec(), weight].concat());
    let pickle = [b"\x80\x02".as_slice(), &module(&[text("layer"), inner].concat()), b"."].concat();
    let folder = Folder::new();
    folder.write("x", &archive(&pickle, &[("0", &floats(2))]));
    let checkpoint = Checkpoint::open(&folder.0.join("x")).unwrap();
    let dict = checkpoint.state_dict(&[]).unwrap().unwrap();
    assert_eq!(dict.names().collect::<Vec<_>>(), ["layer.weight"]);
    assert_eq!(dict.values("layer.weight").unwrap(), [0.0, 1.0]);
}

#[test]
fn other_files_are_refused() {
    refuse(b"", "neither a PyTorch checkpoint");
    refuse(b"\x89PNG\r\n\x1a\n and a picture", "neither a PyTorch checkpoint");
    refuse(b"\x80\x02N.", "bare pickle");
    refuse(&[&[0xff; 8][..], b"{\"w\": 1}"].concat(), "header has");
    refuse(&[&20u64.to_le_bytes()[..], b"{\"w\": {\"dtype\": 1}}"].concat(), "header is damaged");
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(
        "letter.txt",
        SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored),
    )
    .unwrap();
    refuse(&zip.finish().unwrap().into_inner(), "0 files data.pkl");
    let folder = Folder::new();
    assert!(matches!(
        Checkpoint::open(&folder.0),
        Err(CheckpointError::Format { .. } | CheckpointError::Io { .. })
    ));
    assert!(matches!(Checkpoint::open(&folder.0.join("none")), Err(CheckpointError::Io { .. })));
}
