"""The one prediction loop: whole videos in, a score for every input frame out."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ssdet_cli.data.clips import WholeVideo
from ssdet_cli.engine.distributed import Session
from ssdet_cli.evaluation.interface import VideoScores


@dataclass(frozen=True)
class _Piece:
    """One pass: input frames [start, start + frames.shape[1]) of a video."""

    owner: "_Sum"
    start: int
    frames: Tensor


@dataclass
class _Sum:
    """Weighted logits of a video whose windows are not all in yet."""

    video: WholeVideo
    pieces: int
    logits: np.ndarray | None = None
    weights: np.ndarray | None = None
    done: int = field(default=0)

    def add(self, start: int, logits: np.ndarray, weights: np.ndarray) -> None:
        if self.logits is None:
            length = len(self.video.seconds)
            self.logits = np.zeros((length, logits.shape[1]), dtype=np.float32)
            self.weights = np.zeros((length, 1), dtype=np.float32)
        self.logits[start : start + len(logits)] += logits * weights[:, None]
        self.weights[start : start + len(logits), 0] += weights
        self.done += 1

    def scores(self) -> VideoScores:
        video = self.video
        return VideoScores(
            video_id=video.video_id,
            seconds=video.seconds,
            logits=self.logits / self.weights,
            duration_seconds=video.duration_seconds,
            frame_rate=video.frame_rate,
            num_frames=video.num_frames,
            raw_seconds=video.raw_seconds,
            backend=video.backend,
        )


def window_starts(length: int, window: int) -> list[int]:
    """First frames of half-overlapping windows that cover `length` frames; the last one ends with the video."""
    if length <= window:
        return [0]
    hop = window // 2
    starts = list(range(0, length - window, hop))
    return [*starts, length - window]


def blend_weights(length: int) -> np.ndarray:
    """Triangle over a window, above 0 everywhere: frames near a window's edge saw least of their surroundings."""
    ramp = np.arange(1, length + 1, dtype=np.float32)
    return np.minimum(ramp, ramp[::-1])


def predict(
    network: nn.Module,
    videos: Iterable[list[WholeVideo]],
    *,
    normalize: Callable[[Tensor], Tensor],
    session: Session,
    window: int,
    batch_size: int,
    autocast: Callable[[], AbstractContextManager],
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[list[VideoScores], dict[str, str]]:
    """Score this rank's videos.

    Only windows of equal length share a batch, so nothing is padded: a video's scores do not depend on its company.

    Args:
        network: (B, 3, T, H, W) normalised -> (B, K, T); in evaluation mode.
        videos: Lists of whole videos, each video on one rank only.
        normalize: uint8 frames -> network input.
        session: This process.
        window: Input frames in one pass; a longer video goes in half-overlapping windows, blended. A network with the
            attribute `longest_clip` gets no more than that.
        batch_size: Windows per pass.
        autocast: Precision of the pass.
        advance: Told the number of finished videos.

    Returns:
        Scores of all ranks in no particular order, and video id -> reason for the unreadable ones.
    """
    longest = getattr(network, "longest_clip", None)
    window = window if longest is None else min(window, longest)
    scores: list[VideoScores] = []
    failures: dict[str, str] = {}
    with torch.no_grad():
        for pieces in _batches(videos, window, batch_size, failures):
            frames = torch.stack([piece.frames for piece in pieces]).to(session.device, non_blocking=True)
            with autocast():
                logits = network(normalize(frames))
            weights = blend_weights(frames.shape[2])
            for piece, values in zip(pieces, logits.float().transpose(1, 2).cpu().numpy(), strict=True):
                piece.owner.add(piece.start, values, weights)
                if piece.owner.done == piece.owner.pieces:
                    scores.append(piece.owner.scores())
            advance(len(scores) + len(failures))
    gathered = session.gather((scores, failures))
    return (
        [score for part, _ in gathered for score in part],
        {video_id: reason for _, part in gathered for video_id, reason in part.items()},
    )


def _pieces(video: WholeVideo, window: int) -> Iterator[_Piece]:
    starts = window_starts(len(video.seconds), window)
    owner = _Sum(video, len(starts))
    for start in starts:
        yield _Piece(owner, start, video.frames[:, start : start + window])


def _batches(
    videos: Iterable[list[WholeVideo]], window: int, batch_size: int, failures: dict[str, str]
) -> Iterator[list[_Piece]]:
    """Group windows by length; when many lengths wait, the fullest group goes early, which bounds the memory."""
    waiting: dict[int, list[_Piece]] = {}
    for video in (video for group in videos for video in group):
        if video.failure:
            failures[video.video_id] = video.failure
            continue
        for piece in _pieces(video, window):
            length = piece.frames.shape[1]
            waiting.setdefault(length, []).append(piece)
            if len(waiting[length]) == batch_size:
                yield waiting.pop(length)
            elif sum(map(len, waiting.values())) >= 4 * batch_size:
                yield waiting.pop(max(waiting, key=lambda key: len(waiting[key])))
    yield from waiting.values()
