"""What runs in a site's job process: frames pass to the daemon, and nothing stays."""

from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply

from aggregation.sites.flare.frame_relay import FrameRelay
from aggregation.sites.flare.orphan import end_with_parent

__all__ = ["BODY", "KIND", "TOPIC", "SiteEnd"]

TOPIC = "inpatient.frame"
KIND, BODY = "kind", "body"


class SiteEnd(Executor):  # type: ignore[misc]
    """Passes frames between the server's job and the daemon of the site whose kit this is.

    The site's folder is the one that the kit lies in: no job can name another.
    """

    def __init__(self) -> None:
        super().__init__()
        self._relay: FrameRelay | None = None

    def handle_event(self, event_type: str, fl_ctx: Any) -> None:
        """Begin to pass frames when the job starts, and end with it."""
        if event_type == EventType.START_RUN:
            end_with_parent()
            engine = fl_ctx.get_engine()
            self._relay = FrameRelay(Path(engine.get_workspace().get_root_dir()).absolute().parent)
            engine.register_aux_message_handler(TOPIC, self._passed)
        elif event_type == EventType.END_RUN and self._relay is not None:
            self._relay.close()

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        """Do no task: this job has none."""
        return make_reply(ReturnCode.TASK_UNKNOWN)

    def _passed(self, topic: str, request: Any, fl_ctx: Any) -> Any:
        reply = Shareable()
        if self._relay is not None:
            kind, body = self._relay.pass_on(request.get(KIND), request.get(BODY))
            reply[KIND], reply[BODY] = int(kind), body
        return reply
