"""One job of an archive: an input, and where its translation and what stands beside it go."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medstyle_gan.volumes import (
    DicomSeries,
    Volume,
    VolumeHeader,
    Workspace,
    read_header,
    read_series,
    read_series_header,
)

JobKind = Literal["volume", "series", "picture_stack", "picture"]


@dataclass(frozen=True)
class Job:
    """One file to translate, or one folder that holds one volume.

    Attributes:
        input: the file or folder.
        output: a volume's file, a folder of PNGs or of a derived DICOM series, or a picture.
        sidecar: the JSON beside the output.
        kind: volume → volume, DICOM series → DICOM series, volume → stack of PNGs, or picture →
            picture; what is done is in `kinds.KINDS`.
        relative: what the input is called in the manifest: its name below the folder that was
            given, or a pseudonym.
        files: all files of the input, where it is not one file.
        series: the DICOM series, where the input is one.
        uncertainty: where the uncertainty goes, in the output's own format; None where it is
            not asked for.
        private: whether nothing that is written may tell the input's own name.
        fault: why nothing can be done, such as another input with the same output.
        told: the same for the manifest, without paths.
    """

    input: Path
    output: Path
    sidecar: Path
    kind: JobKind
    relative: Path = field(default=Path())
    files: tuple[Path, ...] = ()
    series: DicomSeries | None = None
    uncertainty: Path | None = None
    private: bool = False
    fault: str = ""
    told: str = ""

    @property
    def targets(self) -> list[Path]:
        """All that is written."""
        return [path for path in (self.output, self.sidecar, self.uncertainty) if path is not None]

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files that the input consists of."""
        return self.files or (self.input,)

    def header(self) -> VolumeHeader:
        """The header of the input's volume.

        Raises:
            UserError: as `read_header` and `read_series_header` do.
        """
        return read_series_header(self.series) if self.series else read_header(self.input)

    def image(self, workspace: Workspace | None = None) -> Volume | Path:
        """What a translator takes: a series' volume, else the file.

        Raises:
            UserError: as `read_series` does.
        """
        return read_series(self.series, workspace=workspace) if self.series else self.input
