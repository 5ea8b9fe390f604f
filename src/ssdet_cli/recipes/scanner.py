"""One pass of a video through a trained network, whatever the video is and however long it goes on."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ssdet_cli.config.sections import FineSource, InferenceConfig
from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.data.inputs import Source
from ssdet_cli.data.stream_windows import StreamWindows
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.exact import logits_in_chunks, windows_of
from ssdet_cli.engine.numbers import precision
from ssdet_cli.engine.predict import LOGITS, Apply, in_batches, predict
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.streaming import RowJoin, Sink
from ssdet_cli.errors import CheckpointError, ConfigError, DataError, SsdetError
from ssdet_cli.evaluation.thresholds import DEFAULT
from ssdet_cli.recipes import evaluate_checkpoints, fine_stream
from ssdet_cli.recipes.foreign import checkpoint_of
from ssdet_cli.recipes.scoring import asked_spacing, sigmoid, trained_spacing
from ssdet_cli.recipes.stored_video import refuse_other_count, refuse_other_video
from ssdet_cli.recipes.window_length import LONGEST, measured
from ssdet_cli.video.ahead import ahead
from ssdet_cli.video.stream import Sampler, Stream, open_stream
from ssdet_cli.video.transforms import Normalize, centre_crop_box, crop_resize

#: Input frames that are decoded ahead.
_AHEAD = 32
#: Of the time, one part in so many goes into preliminary scores at most.
_SPARE = 20


class Watch(Protocol):
    """Is told how a video goes, while it does."""

    def reach(self, seconds: float) -> None:
        """Reading has come to this time."""
        ...

    def wants_scores(self) -> bool:
        """Whether preliminary scores are welcome now."""
        ...

    def show(self, seconds: np.ndarray, scores: np.ndarray, remark: str = "") -> None:
        """Take (n,) times and (n, columns) preliminary scores, with a remark on what those are."""
        ...


@dataclass(frozen=True)
class Part:
    """The part of a video that is wanted.

    Attributes:
        start: Seconds.
        end: Seconds; None is as long as it goes on.
        frame_rate: Frames per second, of a folder of frames.
    """

    start: float = 0.0
    end: float | None = None
    frame_rate: float | None = None


@dataclass(frozen=True)
class Scan:
    """How a video went through.

    Attributes:
        duration: When what was seen of it ends, seconds.
        live: It had no end of its own.
        whole: All of it that was wanted was seen: it was neither stopped nor broken off.
        broken: Why a live video could not be read any further; empty where it could.
    """

    duration: float
    live: bool
    whole: bool = True
    broken: str = ""


class Scanner:
    """A network, and how videos go through it; made by `restore`.

    Attributes:
        classes: Names in the order of the scores.
        thresholds: (K,) float64, from which score on each is present: the best in the checkpoint's validation, or 0.5.
        validated: Whether the checkpoint knows them.
        spacing: Seconds from one input frame to the next, as asked for or in training; None where frames are counted
            because the checkpoint does not know.
        store: Stored features of the fine stream; None where there are none, or they are computed.
    """

    def __init__(
        self,
        network: Any,
        meta: dict[str, Any],
        inference: InferenceConfig,
        here: Session,
        *,
        apply_of: fine_stream.ApplyOf | None = None,
        window: int | None = None,
    ) -> None:
        self._network, self._meta, self._inference, self._here = network, meta, inference, here
        self._apply_of, self._window = apply_of, window
        validated = meta.get("validated", {})
        self.classes: tuple[str, ...] = tuple(meta["classes"])
        self.validated = bool(validated.get("thresholds"))
        self.thresholds = np.array(validated.get("thresholds") or [DEFAULT] * len(self.classes), np.float64)
        apart = asked_spacing(inference, trained_spacing(meta["clip"]))
        by_time = inference.stride is None
        self.spacing: float | None = apart.seconds or (validated.get("frame_seconds") if by_time else None)
        context = apply_of.keywords.get("context") if apply_of is not None else None
        self.store: FeatureStore | None = context.store if context is not None else None
        # Stored features may be of every so many raw frames.
        counted = self.store is not None and self.store.origin.seconds_between_frames is None
        self._stride = apart.stride if counted or self.spacing is None else None

    def scan(
        self,
        source: Source,
        part: Part,
        columns: Sequence[int],
        sink: Sink,
        *,
        stopped: Callable[[], bool] = lambda: False,
        opened: Callable[[Stream], Watch | None] = lambda video: None,
    ) -> Scan:
        """Take a video through the network, in memory that does not depend on its length unless `exact` is asked for.

        Args:
            source: Which.
            part: What of it.
            columns: Classes that the sink is given.
            sink: Given (n,) seconds and (n, columns) probabilities of frames, in order.
            stopped: Whether the video shall end here; asked all the time.
            opened: Told the video before it is read; gives what watches it, if anything.

        Raises:
            DataError: It cannot be read, has no frame in the part that is part, or no end where `exact` needs one.
        """
        if self.store is not None:
            self.store.check([source.video_id])
        size = self._inference.size
        with open_stream(source.location, short_side=size, frame_rate=part.frame_rate) as video:
            if video.live and self._inference.exact:
                raise DataError(f"{source.location} has no end, which inference.exact needs; leave it out.")
            if video.duration is not None and part.start >= video.duration:
                raise _nothing_between(source, part, video.duration)
            if self.store is not None:
                refuse_other_video(self.store, source, video)
            watch = opened(video)
            by = {"stride": self._stride} if self._stride is not None else {"spacing": self.spacing}
            sampler = Sampler(video, start=part.start, end=part.end, **by)
            frames = _Frames(sampler, size, stopped)
            read = iter(frames) if watch is None else self._watched(iter(frames), watch, columns, video.live)
            with closing(read) as stream:
                count = self._through(source, stream, video.live, lambda at, rows: sink(at, rows[:, columns]))
        if not count and not stopped():
            if frames.broken:
                raise DataError(frames.broken)
            if sampler.ended:
                raise _nothing_between(source, part, sampler.ended)
            if not video.live:
                raise DataError(f"{source.location}: holds no frame that can be read.")
        if self.store is not None:
            whole = part.end is None and frames.ended
            refuse_other_count(self.store, source, frames.seen, sampler.ended, to_the_end=whole)
        ends = [sampler.ended, part.end, frames.until if stopped() and not frames.ended else None]
        return Scan(min(end for end in ends if end is not None), video.live, frames.ended, frames.broken)

    def _watched(
        self, frames: Iterator[Any], watch: Watch, columns: Sequence[int], live: bool
    ) -> Iterator[tuple[int, float, Tensor]]:
        """Pass frames on, and tell how far they are; of a window that is long in coming, what can be said already.

        That is what the network says of the latest frames alone, as many as a clip of training has: how a live video
        is scored throughout. A Coarse-Fine network looks at what is not there yet.
        """
        in_full = live or self._apply_of is not None
        count = 0 if in_full else min(self._meta["clip"]["frames"], self._inference.window)
        latest: deque[Tensor] = deque(maxlen=count)
        rested = 0.0
        with closing(frames):
            for index, seconds, frame in frames:
                watch.reach(seconds)
                latest.append(frame)
                if 0 < count == len(latest) and time.monotonic() >= rested and watch.wants_scores():
                    began = time.monotonic()
                    scores = self._scores_of(latest)[-1:, columns]
                    watch.show(np.array([seconds]), scores, f"preliminary, from {count} frames")
                    rested = time.monotonic() + (_SPARE - 1) * (time.monotonic() - began)
                yield index, seconds, frame

    @torch.no_grad()
    def _scores_of(self, frames: Sequence[Tensor]) -> np.ndarray:
        """Frames (3, S, S) as a clip of their own -> (T, K)."""
        how = _how(self._meta, self._here)
        clip = torch.stack(list(frames), dim=1)[None].to(self._here.device)
        with how["autocast"]():
            logits = self._network(how["normalize"](clip))[0]
        return self._probabilities(logits.float().T.cpu().numpy())

    def _through(
        self, source: Source, frames: Iterator[Any], live: bool, sink: Callable[[np.ndarray, np.ndarray], None]
    ) -> int:
        length = self._meta["clip"]["frames"] if live and self._window is None else self._inference.window
        cut = windows_of(self._network, length, exact=self._inference.exact)
        windows = StreamWindows(source.video_id, frames, cut, numbered=self.store is not None)
        join = RowJoin(lambda seconds, logits: sink(seconds, self._probabilities(logits)))
        (count,) = predict(windows, apply=self._apply(length), join=lambda _: join, session=Session(self._here.device))[
            0
        ] or (0,)
        return count

    def _apply(self, length: int) -> Apply:
        how = _how(self._meta, self._here)
        if self._inference.exact and getattr(self._network, "temporal_reach", None) is None:
            return logits_in_chunks(self._network, **how)
        if self._apply_of is None:
            return in_batches(lambda frames: {LOGITS: self._network(frames)}, batch_size=1, **how)
        how["batch_size"] = 1  # a live video waits for nothing
        if self.store is not None:
            return self._apply_of(self._network, **how)
        # The fine stream goes ahead as many windows as in training, of whatever length they are.
        longest = max(length, self._apply_of.keywords["longest"] * length // self._inference.window)
        return self._apply_of(self._network, longest=longest, **how)

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(n, outputs) -> (n, K): each class by itself; of pretraining, against the others and background.

        Raises:
            SsdetError: The network gives something that is not a number.
        """
        if not np.isfinite(logits).all():
            raise SsdetError("The network gives scores that are no numbers: its weights are broken.")
        if not self._meta["background"]:
            return sigmoid(logits).astype(np.float32)
        exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        return (exponents / exponents.sum(axis=1, keepdims=True))[:, 1:].astype(np.float32)


class _Frames:
    """Cropped input frames (index, seconds, (3, S, S) uint8), decoded ahead; of a live video as far as they come.

    Attributes:
        broken: Why a live video ended early.
        seen: Input frames from the video's beginning to the last one that came.
        ended: The video came to its end, and was neither broken off nor stopped.
        until: When the last frame that was given ends, seconds; None where that is unknown. More are decoded.
    """

    def __init__(self, sampler: Sampler, size: int, stopped: Callable[[], bool]) -> None:
        self._sampler, self._size, self._stopped, self.broken, self.seen = sampler, size, stopped, "", 0
        self.ended = False
        self.until: float | None = None
        self._last: float | None = None

    def __iter__(self) -> Iterator[tuple[int, float, Tensor]]:
        try:
            for index, seconds, frame in ahead(self._cropped(), _AHEAD, self._stopped):
                self.until = None if self._last is None else 2 * seconds - self._last
                self._last = seconds
                yield index, seconds, frame
            self.ended = not self._stopped()
        except DataError as error:
            if not self._sampler.video.live:
                raise
            self.broken = str(error)

    def _cropped(self) -> Iterator[tuple[int, float, Tensor]]:
        with closing(iter(self._sampler)) as pictures:
            for index, seconds, picture in pictures:
                self.seen = index + 1
                box = centre_crop_box(*picture.shape[:2])
                yield index, seconds, crop_resize(picture[None], box, self._size)[:, 0]


def restore(
    path: Path,
    here: Session,
    *,
    fine: FineSource,
    stride: int | None = None,
    seconds_between_frames: float | None = None,
    size: int | None = None,
    window: int | Literal["auto"] | None = None,
    exact: bool = False,
    log: RunLog | None = None,
) -> Scanner:
    """Load a run or a checkpoint of finetune, train-coarse-fine or pretrain, or weights of any known origin.

    Args:
        path: Run folder, or a file.
        here: Where to compute.
        fine: Of a Coarse-Fine network: its fine stream; empty is as it was trained.
        stride: Raw frames from one input frame to the next; None keeps the time between them of training.
        seconds_between_frames: Or seconds from one to the next.
        size: Side of the crop, pixels; None is that of training.
        window: Input frames in one pass; None is 512, auto as many as memory allows, and both as many as a training
            clip has for a live video.
        exact: Of a longer video, what one pass would give.
        log: Told what is loaded from where.

    Raises:
        CheckpointError: It cannot be read, or is of a network that says nothing about frames.
        ConfigError: Something is given that does not fit the network.
    """
    log = log or RunLog(None, None)
    given_window = {"window": window} if window is not None else {}
    sampling = {"stride": stride, "seconds_between_frames": seconds_between_frames, "size": size}
    base = InferenceConfig(**sampling, **given_window, exact=exact)
    state = checkpoint_of(path, base, log)
    meta = state["meta"] = _complete(path, state["meta"], log)
    _refuse_classifier(path, meta)
    inference = evaluate_checkpoints.inference_of(base, meta)
    if meta["command"] == "train-coarse-fine":
        network, apply_of = fine_stream.restore(state, fine, base, (), here, log)
        return Scanner(network, meta, inference, here, apply_of=apply_of, window=window)
    given = fine.features or fine.weights
    if given is not None:
        name = "--features" if fine.features is not None else "--fine"
        raise ConfigError(f"{name} {given} is for Coarse-Fine checkpoints, and {path} is none.")
    network = evaluate_checkpoints.restore(state, here)
    if window == "auto":
        found = measured(
            network,
            lambda frames: {LOGITS: network(frames)},
            size=inference.size,
            batch_size=1,
            longest=LONGEST,
            here=here,
            **_how(meta, here),
        )
        log.say(f"inference.window=auto: windows of up to {found.window} input frames fit on {here.device}.")
        inference, window = inference.model_copy(update={"window": found.window}), None
    if exact:
        windows_of(network, inference.window, exact=True, name=str(path))
    return Scanner(network, meta, inference, here, window=window)


def _how(meta: dict[str, Any], here: Session) -> dict[str, Any]:
    """How frames are taken through a network."""
    return {
        "normalize": Normalize(**meta["normalization"]).to(here.device),
        "device": here.device,
        "autocast": precision("auto", here.device),
    }


def _nothing_between(source: Source, part: Part, ended: float) -> DataError:
    """Say why a part holds no input frame, of a video that ends or was left at `ended` seconds."""
    if part.start >= ended:
        return DataError(f"{source.location} ends at {ended:.2f} s; the start ({part.start:g} s) is beyond that.")
    until = "its end" if part.end is None or part.end > ended else f"{part.end:g} s"
    return DataError(
        f"{source.location}: the network looks at no frame from {part.start:g} s to {until}; "
        "give an earlier start or a later end."
    )


def _refuse_classifier(path: Path, meta: dict[str, Any]) -> None:
    """See that a network says something about frames.

    Raises:
        CheckpointError: It was trained as a classifier of whole clips, with neither frames nor background.
    """
    if meta["command"] == "pretrain" and not meta.get("config", {}).get("augment", {}).get("methods", True):
        raise CheckpointError(
            f"{path} is a classifier of whole clips (augment.methods=none) and says nothing about frames; "
            f"run `ssdet finetune --init {path}`."
        )


def _complete(path: Path, meta: dict[str, Any], log: RunLog) -> dict[str, Any]:
    """Fill in what weights of another origin do not say: names of classes, and that none is background."""
    count = meta["num_classes"]
    if not meta["classes"]:
        log.say(f"{path} does not name its {count} classes: they are class-0 to class-{count - 1}.")
    names = meta["classes"] or [f"class-{index}" for index in range(count)]
    return {"background": False, **meta, "classes": names}
