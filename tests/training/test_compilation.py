from __future__ import annotations

from functools import partial

import pytest
import torch

from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training.compilation import compile_networks, refuse_without_compiler

TINY = [
    "training.compile=true",
    "data.sample_size=[16,16]",
    "generator.ngf=4",
    "generator.blocks=1",
    "discriminator.ndf=4",
    "discriminator.layers=1",
    "loss.perceptual.weight=0",
    "loss.perceptual.reconstruction_weight=0",
    "loss.style.weight=0",
    "loss.identity.weight=0",  # one batch size for the generators: compiled once
]


def gradients(method: CycleGAN) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    real = {d: torch.rand(1, 1, 16, 16, generator=rng) * 2 - 1 for d in ("scan", "style")}
    terms, translated = method.generator_terms(real)
    judged = method.discriminator_terms(real, translated)
    method.zero_grad()
    torch.stack([t.weight * t.value for t in (terms | judged).values()]).sum().backward()
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None}


# The C++ of switchable networks takes minutes to build: they are traced and differentiated as for
# it, but run by torch's own operators.
@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
@pytest.mark.parametrize(
    ("generator", "backend"), [("resnet", "inductor"), ("switchable", "aot_eager")]
)
def test_compiled_networks_have_the_same_gradients_and_names(
    generator: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(None, [*TINY, f"generator.name={generator}"])
    torch.manual_seed(0)
    method = CycleGAN(config)
    names, expected = list(method.state_dict()), gradients(method)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compile_networks(method, config)
    assert all(n._compiled_call_impl is not None for n in method.trained_networks().values())
    assert all(n._compiled_call_impl is None for n in method.ema.generators.values())
    compiled = gradients(method)
    assert list(method.state_dict()) == names
    assert compiled.keys() == expected.keys()
    whole = float(torch.stack([gradient.norm() for gradient in expected.values()]).norm())
    for name, gradient in expected.items():
        # Biases before a norm have none but rounding, which goes with the whole gradient.
        scale = max(float(gradient.norm()), 0.01 * whole)
        assert float((compiled[name] - gradient).norm()) < 1e-4 * scale, name


def test_nothing_is_compiled_unasked() -> None:
    config = load_config(None, [*TINY, "training.compile=false"])
    method = CycleGAN(config)
    compile_networks(method, config)
    assert all(n._compiled_call_impl is None for n in method.trained_networks().values())


def test_a_missing_compiler_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config as inductor
    from torch._inductor import cpp_builder

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    cpp_builder.cpp_compiler_search.cache_clear()
    try:
        with pytest.raises(UserError, match=r"install g\+\+ .* training.compile=false"):
            refuse_without_compiler(load_config(None, TINY))
    finally:
        cpp_builder.cpp_compiler_search.cache_clear()
    refuse_without_compiler(load_config(None, ["training.compile=false"]))
