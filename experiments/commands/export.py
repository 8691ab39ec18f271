"""``inpatient export``: a trained model as safetensors or ONNX, for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

__all__ = ["ExportCommand"]


@dataclass(frozen=True)
class ExportCommand:
    """Write a model that a run handed out as safetensors or ONNX; never pickle.

    The graph takes the columns as the schema standardises them (its metadata holds the schema), and
    gives log-odds and risks. Needs the extra: pip install "inpatient[export]".
    """

    model: Annotated[Positional[Path], arg(metavar="MODEL")]
    """The folder 'model' that a run wrote."""
    safetensors: Path | None = None
    """Write the parameters by name into this file."""
    onnx: Path | None = None
    """Write the graph into this file."""
    module: Path | None = None
    """The file of a torch module that you have read and trust; not needed for a shipped one."""

    def check(self) -> None:
        """Refuse to write nothing."""
        from privacy.errors import InvalidInputError

        if self.safetensors is None and self.onnx is None:
            raise InvalidInputError("Say what to write: --safetensors FILE, --onnx FILE, or both.")

    def run(self) -> int:
        """Read the model, write what was asked for."""
        from aggregation.exported import save_onnx, save_safetensors
        from aggregation.trained import Trained

        trained = Trained.read(self.model)
        if self.module is not None:
            from aggregation.models.torch_source import approve

            approve(self.module)
        if self.safetensors is not None:
            print(f"Written: {save_safetensors(trained, self.safetensors)}")
        if self.onnx is not None:
            print(f"Written: {save_onnx(trained, self.onnx)}")
        return 0
