"""PEFT reads the folder that `cargo xtask train adapter --peft` writes, and its numbers are ours.

PEFT comes with PyTorch, which has gigabytes: this runs where both are in the environment of these tests
(`target/hosts-venv/bin/pip install torch peft`), and is skipped elsewhere.
"""

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from safetensors.torch import load_file  # noqa: E402

PREFIX = "base_model.model."


@pytest.fixture
def folder(request):
    """An adapter in PEFT's format, with what the engine computes."""
    return request.config.getoption("--peft")


def network(weights: dict) -> torch.nn.Module:
    """Linear modules under the names and of the sizes that the adapter's tensors have, and one that it leaves alone."""
    root = torch.nn.Module()
    for name in sorted(weights):
        if not name.endswith(".lora_A.weight"):
            continue
        path = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        inputs, outputs = weights[name].shape[1], weights[name.replace("lora_A", "lora_B")].shape[0]
        *parents, last = path.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.add_module(last, torch.nn.Linear(inputs, outputs))
    root.add_module("head", torch.nn.Linear(4, 4))
    return root


def test_every_tensor_has_its_place(folder):
    weights = load_file(folder / "adapter_model.safetensors")
    model = peft.get_peft_model(network(weights), peft.LoraConfig.from_pretrained(folder))
    own = {name for name in peft.get_peft_model_state_dict(model)}
    assert own == set(weights)
    result = peft.set_peft_model_state_dict(model, weights)
    assert result.unexpected_keys == []
    # The base's own weights are none of the adapter's business.
    assert [name for name in result.missing_keys if "lora" in name] == []


def test_what_it_adds_is_what_the_engine_adds(folder):
    torch.manual_seed(1)
    base = network(load_file(folder / "adapter_model.safetensors"))
    expected = load_file(folder / "expected.safetensors")
    paths = [name.removesuffix(".x") for name in expected if name.endswith(".x")]
    before = {path: base.get_submodule(path)(expected[f"{path}.x"]) for path in paths}
    # Replaces the modules of `base` by those with the adapter.
    model = peft.PeftModel.from_pretrained(base, folder).base_model.model
    for path in paths:
        added = model.get_submodule(path)(expected[f"{path}.x"]) - before[path]
        delta = expected[f"{path}.delta"]
        assert delta.abs().max() > 0
        assert (added - delta).abs().max() < 1e-5 * delta.abs().max(), path
