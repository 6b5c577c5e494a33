#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use candle_core::{Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;

/// Values between -1 and 1 that differ in scale from column to column.
fn sample(rows: usize, columns: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * columns)
        .map(|at| ((at * 7919 % 1000) as f32 / 500.0 - 1.0) * 0.1f32.powi((at % columns) as i32 % 4))
        .collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn encode_one(tensor: &Tensor, storage: Storage) -> Vec<u8> {
    encode("codec", &BTreeMap::from([("w".to_owned(), tensor.clone())]), |_, _| storage).unwrap()
}

fn decode_one(bytes: &[u8]) -> Tensor {
    let weights = Weights::decode("codec.safetensors", bytes).unwrap();
    // A file gives the same, read piece by piece.
    let read = Weights::read("codec.safetensors", bytes.len() as u64, bytes).unwrap().tensor("w").unwrap();
    let tensor = weights.tensor("w").unwrap();
    assert_eq!(flat(&read), flat(&tensor));
    tensor
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn view(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    safetensors::serialize([("w", view)], None).unwrap()
}

fn refuse(bytes: &[u8], part: &str) {
    let decoded = Weights::decode("codec.safetensors", bytes);
    let message = decoded.and_then(|weights| weights.check()).unwrap_err().to_string();
    assert!(message.contains("codec.safetensors") && message.contains(part), "{message}");
}

#[test]
fn floats_round_trip_within_their_precision() {
    let tensor = sample(33, 20);
    // Half an ulp of each format's mantissa.
    for (storage, relative) in
        [(Storage::F32, 0.0), (Storage::F16, 1.0 / 2048.0), (Storage::Bf16, 1.0 / 256.0)]
    {
        let back = decode_one(&encode_one(&tensor, storage));
        assert_eq!(back.dims(), [33, 20]);
        for (x, y) in flat(&tensor).iter().zip(flat(&back)) {
            // Below 2^-14 f16 has subnormals, whose step is 2^-24.
            assert!((x - y).abs() <= x.abs() * relative + 3e-8, "{storage:?}: {x} became {y}");
        }
    }
}

#[test]
fn int8_errs_at_most_half_a_step_of_its_channel() {
    let (rows, columns) = (40, 12);
    for (tensor, by_column) in
        [(sample(rows, columns), true), (sample(columns, rows).t().unwrap().contiguous().unwrap(), false)]
    {
        let back = decode_one(&encode_one(&tensor, Storage::Int8));
        let (x, y) = (tensor.to_vec2::<f32>().unwrap(), back.to_vec2::<f32>().unwrap());
        for row in 0..rows {
            for column in 0..columns {
                let largest = if by_column {
                    (0..rows).map(|r| x[r][column].abs()).fold(0.0, f32::max)
                } else {
                    (0..columns).map(|c| x[row][c].abs()).fold(0.0, f32::max)
                };
                let error = (x[row][column] - y[row][column]).abs();
                assert!(error <= largest / 254.0 * 1.0001, "row {row}, column {column}: {error}");
            }
        }
    }
}

#[test]
fn int8_handles_convolutions_and_silent_channels() {
    // [out, in, k] with one all-zero output channel.
    let values: Vec<f32> =
        (0..24).map(|at| if at / 6 == 2 { 0.0 } else { (at as f32 - 11.5) / 4.0 }).collect();
    let tensor = Tensor::from_vec(values.clone(), (4, 3, 2), &Device::Cpu).unwrap();
    let back = flat(&decode_one(&encode_one(&tensor, Storage::Int8)));
    for (x, y) in values.iter().zip(back) {
        assert!((x - y).abs() < 0.02, "{x} became {y}");
    }
}

#[test]
fn the_same_tensors_give_the_same_bytes() {
    let tensors = BTreeMap::from([("b".to_owned(), sample(3, 3)), ("a".to_owned(), sample(5, 8))]);
    let make = || encode("text", &tensors, |_, _| Storage::Int8).unwrap();
    assert_eq!(make(), make());
    assert_eq!(Weights::decode("text.safetensors", &make()).unwrap().part(), Some("text"));
}

#[test]
fn values_that_do_not_fit_are_refused_by_name() {
    let refuse = |value: f32, storage: Storage| {
        let tensor = Tensor::new(&[1.0, value], &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("w".to_owned(), tensor)]);
        encode("codec", &tensors, |_, _| storage).unwrap_err().to_string()
    };
    assert!(refuse(1e6, Storage::F16).contains("tensor w holds a value that is too large"));
    assert!(refuse(f32::NAN, Storage::F32).contains("not a number"));
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let good = encode_one(&sample(8, 8), Storage::F16);
    for length in [0, 1, 7, 8, 20, good.len() / 2, good.len() - 1] {
        refuse(&good[..length], "not a valid weights file");
    }
    let mut longer = good.clone();
    longer.push(0);
    refuse(&longer, "not a valid weights file");
    refuse(b"RIFF\x24\0\0\0WAVEfmt ", "not a valid weights file");
    let mut huge_header = good;
    huge_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refuse(&huge_header, "not a valid weights file");
}

/// A file of this header and data.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn what_no_header_needs_is_refused() {
    let tensor = |shape: &str, end: usize| {
        format!(r#"{{"w":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,{end}]}}}}"#)
    };
    Weights::decode("codec.safetensors", &with_header(&tensor("2,1,1,1,1,1,1,1", 8), 8)).unwrap();
    refuse(&with_header(&tensor("2,1,1,1,1,1,1,1,1", 8), 8), "expected at most 8 numbers");
    // Empty, but its strides would overflow.
    refuse(&with_header(&tensor("0,18446744073709551615,8", 0), 0), "a shape is too large");
    refuse(&with_header(&tensor("18446744073709551616", 0), 0), "expected a size");
    let info = r#"{"dtype":"F32","shape":[],"data_offsets":[0,4]}"#;
    for (header, part) in [
        (format!(r#"{{"w":{info},"w":{info}}}"#), "the tensor w is there twice"),
        (format!(r#"{{"{}":{info}}}"#, "w".repeat(513)), "a tensor's name has 513 bytes"),
        (format!(r#"{{"w\n":{info}}}"#), "control characters"),
        (format!(r#"{{"w":"{}"}}"#, "x".repeat(5000)), "invalid type: text"),
        (format!(r#"{{"w":{{"dtype":"{}"}}}}"#, "x".repeat(5000)), "unknown dtype xxxxxxxxxxxxxxxxxxxx at"),
        (r#"{"w":{"dtype":"F32","dtype":"F32"}}"#.into(), "duplicate field `dtype`"),
        (r#"{"w":{"dtype":"F32","shape":[]}}"#.into(), "missing field `data_offsets`"),
        (format!(r#"{{"__metadata__":{{"soundlocd.part":1}},"w":{info}}}"#), "expected a string"),
        (format!(r#"{{"w":{info}}}{{}}"#), "trailing characters"),
    ] {
        refuse(&with_header(&header, 4), part);
    }
    let many: Vec<String> =
        (0..70_000).map(|n| format!(r#""{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)).collect();
    refuse(&with_header(&format!("{{{}}}", many.join(",")), 0), "more than 65536 tensors");
    // Other programs' metadata is nobody's business here, whatever it is.
    let header = format!(r#"{{"__metadata__":{{"a":[1],"soundlocd.part":"text"}},"w":{info}}}"#);
    let bytes = with_header(&header, 4);
    let weights = Weights::decode("codec.safetensors", &bytes).unwrap();
    assert_eq!((weights.part(), weights.metadata("a")), (Some("text"), None));
}

#[test]
fn unusable_tensors_are_named() {
    refuse(&view(Dtype::I64, &[1], &[0; 8]), "tensor w is of the type I64");
    refuse(&view(Dtype::I8, &[4], &[1; 4]), "tensor w is int8 but has no scales");
    refuse(&view(Dtype::F32, &[1], &f32::INFINITY.to_le_bytes()), "tensor w holds a value");

    let integers = TensorView::new(Dtype::I8, vec![2, 2], &[1; 4]).unwrap();
    for shape in [vec![2, 2], vec![3, 1], vec![2]] {
        let bytes = vec![0; shape.iter().product::<usize>() * 4];
        let scales = TensorView::new(Dtype::F32, shape, &bytes).unwrap();
        let file = safetensors::serialize([("w", integers.clone()), ("w.scale", scales)], None).unwrap();
        refuse(&file, "do not fit");
    }
}

#[test]
fn a_missing_or_misshapen_tensor_is_named_when_asked_for() {
    let bytes = encode_one(&sample(4, 4), Storage::F32);
    let weights = || Weights::decode("codec.safetensors", &bytes).unwrap();
    assert!(
        weights().tensor("v").unwrap_err().to_string().contains("codec.safetensors: the tensor v is missing")
    );
    let vs = weights().into_var_builder(&Device::Cpu);
    assert!(vs.get((4, 5), "w").unwrap_err().to_string().contains('w'));
    assert!(vs.pp("deep").get(4, "bias").unwrap_err().to_string().contains("deep.bias"));
}

#[test]
fn each_tensor_can_be_taken_once() {
    let tensor = sample(6, 4);
    let bytes = encode_one(&tensor, Storage::Int8);
    let vs = Weights::decode("codec.safetensors", &bytes).unwrap().into_var_builder(&Device::Cpu);
    assert!(vs.contains_tensor("w"));
    assert_eq!(flat(&vs.get((6, 4), "w").unwrap()), flat(&decode_one(&bytes)));
    assert!(!vs.contains_tensor("w") && !vs.contains_tensor("w.scale"));
    assert!(vs.get((6, 4), "w").unwrap_err().to_string().contains("cannot find tensor w"));
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_refused() {
    let bytes = encode_one(&sample(8, 8), Storage::F16);
    let size = bytes.len() as u64;
    let message = Weights::read("codec.safetensors", size, &bytes[..100]).unwrap_err().to_string();
    assert!(message.contains("ends early"), "{message}");
}

#[test]
fn a_layout_costs_no_memory_and_counts_differences() {
    // 4 TiB, were they there.
    let layout = Layout::of(|vs| {
        vs.get((1 << 20, 1 << 20), "huge")?;
        vs.pp("deep").get(3, "bias")
    })
    .unwrap();
    let names: Vec<&str> = layout.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["deep.bias", "huge"]);
    let many = (0..10).map(|index| (format!("other{index}"), sample(1, 1))).collect();
    let error = layout.check(&many).unwrap_err();
    assert_eq!(error.misfits.len(), 12);
    assert!(error.to_string().ends_with("; and 7 more"), "{error}");
    assert_eq!(error.misfits[0], Misfit::Missing { tensor: "deep.bias".into(), expected: vec![3] });
}
