"""What runs in the server's job process: the courier, which holds nothing."""

from functools import partial
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable

from aggregation.sites.flare.carrying import carry_between_machines
from aggregation.sites.flare.orphan import end_with_parent
from aggregation.sites.flare.relayed_link import Sending
from aggregation.sites.flare.site_end import BODY, KIND, TOPIC
from privacy._validate import positive

__all__ = ["ServerEnd"]


class ServerEnd(Controller):  # type: ignore[misc]
    """Carries between the daemons of all sites until the run has ended.

    The server's own site is in the folder that the kit lies in: no job can name another.

    Args:
      silent: Seconds without an answer of a site's relay, after which the job ends.
    """

    def __init__(self, silent: float) -> None:
        super().__init__()
        self._silent = positive(silent=silent)

    def start_controller(self, fl_ctx: Any) -> None:
        """See to it that this process ends with the server's; the rest is in ``control_flow``."""
        end_with_parent()

    def control_flow(self, abort_signal: Any, fl_ctx: Any) -> None:
        """Carry.

        Raises:
          InpatientError: It can't go on within this job.
        """
        engine = fl_ctx.get_engine()
        folder = Path(engine.get_workspace().get_root_dir()).absolute().parent
        sites = [client.name for client in engine.get_clients()]
        sending = Sending(partial(_sent, engine))
        carry_between_machines(
            folder, sites, sending, lambda: bool(abort_signal.triggered),
            job=str(fl_ctx.get_job_id()), silent=self._silent,
        )  # fmt: skip

    def stop_controller(self, fl_ctx: Any) -> None:
        """End nothing: ``control_flow`` has."""

    def process_result_of_unknown_task(
        self, client: Any, task_name: str, client_task_id: str, result: Any, fl_ctx: Any
    ) -> None:
        """Take no result: this job has no task."""


def _sent(
    engine: Any, site: str, kind: int, body: bytes, within: float
) -> tuple[object, object] | None:
    request = Shareable()
    request[KIND], request[BODY] = int(kind), body
    with engine.new_context() as context:
        replies = engine.send_aux_request(
            targets=[site], topic=TOPIC, request=request, timeout=within, fl_ctx=context,
            optional=True,
        )  # fmt: skip
    reply = replies.get(site) if isinstance(replies, dict) else None
    if not isinstance(reply, Shareable) or reply.get_return_code(ReturnCode.OK) != ReturnCode.OK:
        return None
    return reply.get(KIND), reply.get(BODY)
