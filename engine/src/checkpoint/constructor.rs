//! The functions and classes that a checkpoint may name: an allow-list. None of them is ever run.

use super::tensor::ElementKind;
use super::value::Name;

/// Packages whose objects come along in checkpoints without being weights; they are read over.
const BYSTANDERS: [&str; 3] = ["pytorch_lightning", "lightning", "omegaconf"];

/// What a callable of a checkpoint stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Constructor {
    /// Makes a tensor of a storage.
    Tensor,
    /// Makes a dictionary.
    Dict,
    /// Stands for its first argument.
    First,
    /// A class that only says the type of a storage's elements.
    StorageClass,
    /// A module of a TorchScript archive.
    Module,
    /// Makes something that is not weights.
    Bystander,
}

impl Constructor {
    /// The allow-list: `None` for whatever is not on it.
    pub(super) fn of(name: &Name) -> Option<Self> {
        let package = name.module.split('.').next().unwrap_or_default();
        Some(match (&*name.module, &*name.name) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Self::Tensor,
            ("torch._utils", "_rebuild_parameter") | ("torch", "Size") => Self::First,
            (
                "torch.jit._pickle",
                "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist"
                | "restore_type_tag",
            ) => Self::First,
            ("collections", "OrderedDict" | "defaultdict") => Self::Dict,
            ("torch", class) if ElementKind::of_storage_class(class).is_some() => Self::StorageClass,
            ("torch", "device" | "float32" | "float16" | "bfloat16" | "int64") => Self::Bystander,
            // Single numbers of optimizers and schedulers.
            ("numpy", "dtype") | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => {
                Self::Bystander
            }
            // How the protocol that torch.save uses spells bytes and sets.
            ("_codecs", "encode") | ("__builtin__" | "builtins", "set") => Self::Bystander,
            _ if package == "__torch__" => Self::Module,
            _ if BYSTANDERS.contains(&package) => Self::Bystander,
            _ => return None,
        })
    }
}
