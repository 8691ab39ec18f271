"""Other people's secure sums, run from their own packages as they ship them.

They live in an environment of their own (``make bench``); an absent one is an error, never a
missing row. Each ``measure_*`` seals a few updates as that package's client does, adds and opens
them as its server does, and says what it left out.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InvalidInputError

__all__ = ["PEERS", "PeerMeasured", "least_time", "require_peers"]

Updates = NDArray[np.float64]


@dataclass(frozen=True)
class PeerMeasured:
    """One contender at one size.

    Attributes:
      seconds: To seal one update.
      add_seconds: To read one sealed update and add it.
      open_seconds: To open the sum, all checks included.
      bytes: Of one sealed update.
      error: Largest absolute error of the opened sum, in the updates' units; None: not opened.
      note: What the figures leave out.
    """

    seconds: float
    add_seconds: float | None
    open_seconds: float | None
    bytes: int
    error: float | None
    note: str = ""


def least_time(action: Callable[[], Any], *, repeats: int) -> tuple[float, Any]:
    """Return the least seconds of an action, after one call to warm up, and its last result.

    What else runs on a machine only ever adds, so that the least is the action's own.
    """
    action()
    seconds, result = [], None
    for _ in range(repeats):
        start = perf_counter()
        result = action()
        seconds.append(perf_counter() - start)
    return min(seconds), result


def require_peers() -> dict[str, str]:
    """Return the peers' versions.

    Raises:
      InvalidInputError: One is absent.
    """
    missing = []
    for module in ("nvflare", "flwr", "phe"):
        try:
            import_module(module)
        except ImportError:
            missing.append(module)
    if missing:
        raise InvalidInputError(
            f"The benchmark compares with {', '.join(missing)}, which this environment does not "
            "have. Run `make bench`: it makes .venv-bench with all peers and starts there. For our "
            "own schemes alone say --ours."
        )
    return {name: version(name) for name in ("nvflare", "flwr", "phe")}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what TenSEAL's library prints about long vectors off the standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def measure_nvflare(updates: Updates, hospitals: int, repeats: int) -> PeerMeasured:
    """NVFLARE's HE filters with its provisioned context: CKKS, one secret key in every client."""
    import tenseal as ts

    he = "nvflare.app_opt.he."
    crypt = import_module(he + "homomorphic_encrypt")
    fobs = import_module("nvflare.fuel.utils.fobs")
    helpers = import_module("nvflare.app_common.aggregators.weighted_aggregation_helper")
    logging.getLogger("nvflare").setLevel(logging.ERROR)
    builder = import_module("nvflare.lighter.impl.he").HEBuilder()
    builder.initialize(None, None)
    client = ts.context_from(builder.get_serialized_context(is_client=True), n_threads=1)
    server = ts.context_from(builder.get_serialized_context(), n_threads=1)
    context = import_module("nvflare.apis.fl_context").FLContext()
    encryptor = import_module(he + "model_encryptor").HEModelEncryptor(weigh_by_local_iter=False)
    encryptor.tenseal_context, encryptor.encrypt_layers = client, [True]

    def seal(update: Updates) -> dict[str, bytes]:
        params, _ = encryptor.encryption({"update": update}, context)
        serialised: dict[str, bytes] = crypt.serialize_nested_dict(params)
        return serialised

    with _quiet():
        seconds, _ = least_time(lambda: seal(updates[0]), repeats=repeats)
        sealed = [seal(update) for update in updates]
    helper = helpers.WeightedAggregationHelper(weigh_by_local_iter=False)

    def add(message: dict[str, bytes], name: str) -> None:
        helper.add(crypt.deserialize_nested_dict(dict(message), server), 1.0, name, 0)

    start = perf_counter()
    with _quiet():
        for number, message in enumerate(sealed):
            add(message, f"site-{number}")
    add_seconds = (perf_counter() - start) / len(sealed)
    total = crypt.serialize_nested_dict(helper.get_result())
    decryptor = import_module(he + "model_decryptor").HEModelDecryptor()
    decryptor.tenseal_context = client
    with _quiet():
        open_seconds, opened = least_time(
            lambda: decryptor.decryption(dict(total), {"update": True}, context), repeats=repeats
        )
    # Its server divides by the weights of all contributors.
    error = np.abs(np.array(opened["update"]) * len(sealed) - updates.sum(axis=0)).max()
    with _quiet():
        params, _ = encryptor.encryption({"update": updates[0]}, context)
    whole = len(fobs.dumps(params))
    size = len(sealed[0]["update"])
    note = f"ciphertexts alone; its message with the public context: {whole} bytes"
    return PeerMeasured(seconds, add_seconds, open_seconds, size, float(error), note)


def measure_flower(updates: Updates, hospitals: int, repeats: int) -> PeerMeasured:
    """Flower's SecAgg+ client, stage by stage, with its workflow's defaults and all neighbours."""
    mod = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    common = import_module("flwr.common")
    quantisation = import_module("flwr.common.secure_aggregation.quantization")
    stage = import_module("flwr.common.secure_aggregation.secaggplus_constants").Key
    clip, target, modulus = float(np.abs(updates).max()), 1 << 22, 1 << 32
    setup = {
        stage.SAMPLE_NUMBER: hospitals,
        stage.SHARE_NUMBER: hospitals,
        stage.THRESHOLD: hospitals // 2 + 1,
        stage.CLIPPING_RANGE: clip,
        stage.TARGET_RANGE: target,
        stage.MOD_RANGE: modulus,
        stage.MAX_WEIGHT: 1.0,
    }
    others = {node: [mod.generate_key_pairs() for _ in range(2)] for node in range(1, hospitals)}
    public = {
        str(node): tuple(mod.public_key_to_bytes(pair[1]) for pair in pairs)
        for node, pairs in others.items()
    }
    state: Any = mod.SecAggPlusState()
    state.nid = 0
    uploads: dict[str, int] = {}
    timed: list[float] = []

    def one_round() -> None:
        keys = mod._setup(state, setup)
        mine = {"0": (keys[stage.PUBLIC_KEY_1], keys[stage.PUBLIC_KEY_2])}
        shares = mod._share_keys(state, {**mine, **public})
        sources, boxes = list(others), []
        for node in others:  # what each neighbour would have sent, sealed to this client
            shared = mod.generate_shared_key(
                others[node][1][0], mod.bytes_to_public_key(keys[stage.PUBLIC_KEY_2])
            )
            content = mod.share_keys_plaintext_concat(node, 0, b"b" * 40, b"s" * 240)
            boxes.append(mod.encrypt(shared, content))
        start = perf_counter()
        masked = mod._collect_masked_vectors(
            state,
            {stage.CIPHERTEXT_LIST: boxes, stage.SOURCE_LIST: sources},
            1,
            common.ndarrays_to_parameters([updates[0]]),
        )
        uploads["vector"] = sum(len(part) for part in masked[stage.MASKED_PARAMETERS])
        uploads["shares"] = sum(len(box) for box in shares[stage.CIPHERTEXT_LIST])
        timed.append(perf_counter() - start)

    whole, _ = least_time(one_round, repeats=max(1, repeats // 2))
    seconds = min(timed)
    quantised = [mod.quantize([update], clip, target)[0].astype(np.int64) for update in updates]
    total = np.sum(quantised, axis=0)
    opened = quantisation.dequantize([total], clip, target)[0] - clip * (len(updates) - 1)
    error = float(np.abs(opened - updates.sum(axis=0)).max())
    note = (
        f"masked vector; key shares are {uploads['shares']} bytes and {whole - seconds:.3f} s "
        "more; "
        "32-bit mask seeds; error of its quantiser, masks cancel"
    )
    return PeerMeasured(seconds, None, None, uploads["vector"], error, note)


def measure_paillier(updates: Updates, hospitals: int, repeats: int) -> PeerMeasured:
    """Paillier with 3072 bits, one value a ciphertext; 20 values are timed and scaled up."""
    phe = import_module("phe")
    public, private = phe.generate_paillier_keypair(n_length=3072)
    size, some = updates.shape[1], min(20, updates.shape[1])
    step = 2.0**-28
    whole = np.rint(updates[:, :some] / step).astype(np.int64)

    def seal(row: Sequence[int]) -> list[int]:
        return [public.raw_encrypt(int(value) % public.n) for value in row]

    seconds, _ = least_time(lambda: seal(whole[0].tolist()), repeats=1)
    sealed = [seal(row.tolist()) for row in whole]
    square, totals = public.nsquare, [1] * some
    start = perf_counter()
    for row in sealed:
        totals = [a * b % square for a, b in zip(totals, row, strict=True)]
    add_seconds = (perf_counter() - start) / len(sealed)
    open_seconds, raw = least_time(lambda: [private.raw_decrypt(c) for c in totals], repeats=1)
    opened = np.array([r - public.n if r > public.n // 2 else r for r in raw], dtype=float) * step
    error = float(np.abs(opened - updates[:, :some].sum(axis=0)).max())
    scale = size / some
    return PeerMeasured(
        seconds * scale,
        add_seconds * scale,
        open_seconds * scale,
        size * ((square.bit_length() + 7) // 8),
        error,
        f"scaled up from {some} values",
    )


PEERS: dict[str, Callable[[Updates, int, int], PeerMeasured]] = {
    "nvflare": measure_nvflare,
    "flower": measure_flower,
    "paillier": measure_paillier,
}
