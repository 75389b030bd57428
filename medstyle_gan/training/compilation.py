"""`training.compile`: the networks through `torch.compile`."""

from __future__ import annotations

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import TrainedMethod


def refuse_without_compiler(config: Config) -> None:
    """Check that what `torch.compile` writes can be built here, where it is asked for.

    Raises:
        UserError: there is no C++ compiler.
    """
    if not config.training.compile:
        return
    from torch._inductor.cpp_builder import get_cpp_compiler  # seconds to import
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise UserError(
            "training.compile is true, but no C++ compiler is found; install g++ (or name one in "
            "the environment's CXX), or set training.compile=false"
        ) from error


def compile_networks(method: TrainedMethod, config: Config) -> None:
    """Let the trained networks be compiled when each first sees a batch, if it is asked for.

    They stay the same modules, with the same names in checkpoints. The moving average, which
    only validation and panels run, stays as it is.

    Args:
        method: whose generators and discriminators are compiled, in place.
        config: its `training.compile` decides.
    """
    if config.training.compile:
        for network in method.trained_networks().values():
            # The few shapes of a training are better known than guessed.
            network.compile(dynamic=False)
