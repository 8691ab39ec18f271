"""NVFLARE's FedAvg, which keeps what it sends and gets; imported where NVFLARE is, alone."""

from collections.abc import Callable
from typing import Any

from nvflare.app_common.workflows.fedavg import FedAvg

from aggregation.capture.nvflare_job import keep_result, keep_sent, updates_of
from aggregation.capture.update_folder import UpdateFolder

__all__ = ["RecordingFedAvg"]


class RecordingFedAvg(FedAvg):  # type: ignore[misc, unused-ignore]  # untyped where NVFLARE lives
    """``FedAvg`` with the same arguments; its updates lie in the job's folder ``updates``."""

    def send_model(
        self, *args: Any, data: Any, callback: Callable[[Any], Any], **more: Any
    ) -> None:
        """Send as ``FedAvg`` does, and keep the weights, and each answer when it comes."""
        if not isinstance(getattr(self, "_kept", None), UpdateFolder):
            self._kept = updates_of(self)
        keep_sent(self._kept, data)

        def answered(result: Any) -> Any:
            if result.params:
                keep_result(self._kept, data, result)
            return callback(result)

        super().send_model(*args, data=data, callback=answered, **more)
