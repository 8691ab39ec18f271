"""What runs at each site of NVFLARE's own encrypted averaging: a step of logistic regression.

The job's other parts are NVFLARE's. A site finds its patients, and leaves what is to be measured,
in one folder that the job names.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.executor import Executor
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.fuel.utils import fobs

from experiments.benchmarks.averaged_step import hospital_step

__all__ = ["WEIGHTS", "Begun", "Metered", "Step"]

WEIGHTS = "numpy_key"
"""What NVFLARE's NumPy models call their one array."""


class Begun(ModelPersistor):  # type: ignore[misc]
    """Begins with zeros, and keeps no model: the server has none but sealed ones.

    Args:
      dim: Parameters of the model.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self._dim = dim

    def load_model(self, fl_ctx: Any) -> Any:
        """Return zeros."""
        return make_model_learnable({WEIGHTS: np.zeros(self._dim)}, {})

    def save_model(self, model: Any, fl_ctx: Any) -> None:
        """Keep nothing: what NVFLARE's own class for arrays would pickle is a ciphertext."""


class Step(Executor):  # type: ignore[misc]
    """Answers a model with a hospital's step: of all its patients' clipped gradients, averaged.

    Args:
      folder: Where ``<site>.npz`` lies: features and outcomes.
      learning_rate: Of the step.
      clip_norm: Of a patient's gradient.
    """

    def __init__(self, folder: str, learning_rate: float, clip_norm: float) -> None:
        super().__init__()
        self._folder, self._rate, self._clip = Path(folder), learning_rate, clip_norm

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        """Write down when the model came, and which; return the step."""
        site = fl_ctx.get_identity_name()
        params = np.asarray(from_shareable(shareable).data[WEIGHTS], dtype=float).ravel()
        with (self._folder / f"{site}.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({"time": time.time(), "params": params.tolist()}) + "\n")
        with np.load(self._folder / f"{site}.npz") as held:
            features, outcomes = held["features"], held["outcomes"]
        step = hospital_step(params, features, outcomes, self._rate, self._clip)
        # Averaged by NVFLARE with these weights: the step of all hospitals' patients together.
        meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: len(outcomes)}
        return DXO(DataKind.WEIGHT_DIFF, data={WEIGHTS: step}, meta=meta).to_shareable()


class Metered(DXOFilter):  # type: ignore[misc]
    """Leaves the second update of a site as it travels: its size, and its ciphertext.

    Args:
      folder: As for ``Step``.
    """

    def __init__(self, folder: str) -> None:
        kinds = [DataKind.WEIGHT_DIFF]
        super().__init__(supported_data_kinds=kinds, data_kinds_to_filter=kinds)
        self._folder, self._passed = Path(folder), 0

    def process_dxo(self, dxo: Any, shareable: Any, fl_ctx: Any) -> Any:
        """Measure; change nothing."""
        self._passed += 1
        if self._passed == 2:  # the first model is in clear yet
            # The peer of a result is the server; who sends is this process.
            place = self._folder / f"{fl_ctx.get_identity_name()}.sealed"
            place.write_bytes(dxo.data[WEIGHTS].serialize())
            place.with_suffix(".size").write_text(str(len(fobs.dumps(dxo))), encoding="utf-8")
        return dxo
