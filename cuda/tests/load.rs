//! The library as a file: found, loaded, and asked for a sound, with the engine's own way of doing it.
#![allow(clippy::unwrap_used, clippy::panic)]

use soundlocd_engine::gpu::abi::Target;
use soundlocd_engine::gpu::{GpuError, GpuGenerator, Library, Places};
use soundlocd_engine::pack::{Pack, PackRef};
use soundlocd_engine::service::{GenerateError, Generator, Request, Settings};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that cargo has built beside this test, as it does for every crate type of the package under test.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let name = format!("{}soundlocd_gpu{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let file = test.parent().unwrap().join(name);
    assert!(file.is_file(), "cargo has not built {}", file.display());
    file
}

fn open(library: Library) -> Result<GpuGenerator, GpuError> {
    let pack = Pack::embedded().unwrap();
    GpuGenerator::load_onto(Target::Cpu, library, &PackRef::Embedded, pack.hash(), true)
}

fn request() -> Request {
    let settings = Settings { seconds: 0.5, steps: 3, ..Settings::default() };
    Request { settings, ..Request::new("a small bell", 5) }
}

#[test]
fn a_loaded_library_makes_sounds_and_can_be_cancelled() {
    let mut generator = open(Places::file(built()).find().unwrap()).unwrap();
    assert_eq!(generator.describe().hash, Pack::embedded().unwrap().hash());
    let (mut steps, mut pictures) = (0, 0);
    let clip = generator
        .generate(&request(), 0, &mut |progress| {
            steps = steps.max(progress.step);
            pictures += usize::from(progress.preview.is_some());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(clip.audio.iter().any(|sample| sample.abs() > 0.01));
    assert_eq!(clip.provenance.prompt, "a small bell");
    assert_eq!(steps, 3);
    assert!(pictures > 0);
    assert!(!generator.timings().diffusion.is_zero());

    let cancelled = generator.generate(&request(), 0, &mut |_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(GenerateError::Cancelled)));
    let again = generator.generate(&request(), 0, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(again.audio, clip.audio);
}

#[test]
fn a_panic_of_the_client_comes_back_to_it() {
    let mut generator = open(Library::load(&built()).unwrap()).unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        generator.generate(&request(), 0, &mut |_| std::panic::panic_any("mine"))
    }));
    assert_eq!(result.err().unwrap().downcast_ref::<&str>(), Some(&"mine"));
}

#[test]
fn a_library_without_cuda_refuses_the_gpu() {
    let library = Library::load(&built()).unwrap();
    let hash = Pack::embedded().unwrap().hash().to_owned();
    let error = GpuGenerator::load(library, &PackRef::Embedded, &hash, true).err().unwrap();
    assert!(matches!(error, GpuError::Refused { .. }), "{error}");
    #[cfg(not(feature = "cuda"))]
    assert!(error.to_string().contains("without CUDA"), "{error}");
}

/// A shared library of C code, where there is a compiler.
fn compiled(folder: &Path, name: &str, code: &str) -> Option<PathBuf> {
    let (source, library) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    std::fs::write(&source, code).unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    status.is_ok_and(|status| status.success()).then_some(library)
}

#[cfg(target_os = "linux")]
#[test]
fn other_libraries_and_versions_are_told_apart() {
    let folder = std::env::temp_dir().join(format!("soundlocd-gpu-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let absent = Places::folders([folder.clone()]).find().unwrap_err();
    assert!(matches!(absent, GpuError::Absent { .. }), "{absent}");
    std::fs::write(folder.join("text.so"), "not a library").unwrap();
    let error = Library::load(&folder.join("text.so")).unwrap_err();
    assert!(matches!(error, GpuError::Unloadable { .. }), "{error}");

    // Rust needs a C compiler to link, so there is one.
    let foreign = compiled(&folder, "foreign", "int other;").unwrap();
    let error = Library::load(&foreign).unwrap_err();
    assert!(matches!(error, GpuError::Foreign { symbol: "soundlocd_gpu_abi", .. }), "{error}");
    let newer = compiled(&folder, "newer", "unsigned soundlocd_gpu_abi(void) { return 999; }").unwrap();
    let error = Library::load(&newer).unwrap_err();
    assert!(matches!(error, GpuError::Version { found: 999, .. }), "{error}");
    let partial = compiled(
        &folder,
        "partial",
        &format!("unsigned soundlocd_gpu_abi(void) {{ return {}; }}", soundlocd_engine::gpu::abi::VERSION),
    );
    let error = Library::load(&partial.unwrap()).unwrap_err();
    assert!(matches!(error, GpuError::Foreign { symbol: "soundlocd_gpu_open", .. }), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}
