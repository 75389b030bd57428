"""What a MONAI bundle runs: the translation of a folder."""

from __future__ import annotations

from dataclasses import dataclass

from medstyle_gan.data.words import Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.running import Outcome, translate_files
from medstyle_gan.inference.translator import Translator


@dataclass(frozen=True)
class FolderEvaluator:
    """What `configs/inference.json` runs: `medstyle translate` over a folder.

    Args:
        translator: the model.
        dataset_dir: folder of the volumes.
        output_dir: folder of the translations.
        direction: which way.
    """

    translator: Translator
    dataset_dir: str
    output_dir: str
    direction: Direction = "scan_to_style"

    def run(self) -> list[Outcome]:
        """Translate.

        Raises:
            UserError: for what `medstyle translate` refuses, and where files failed.
        """
        outcomes = list(
            translate_files(self.translator, [self.dataset_dir], self.output_dir, self.direction)
        )
        failed = [outcome.reason for outcome in outcomes if outcome.status == "failed"]
        if failed:
            raise UserError(f"{len(failed)} of {len(outcomes)} files failed: {'; '.join(failed)}")
        return outcomes
