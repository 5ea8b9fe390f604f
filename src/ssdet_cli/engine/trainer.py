"""State of one training, and its steps."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.data.multigrid import Plan
from ssdet_cli.engine.bad_batches import LossWatch
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.graphs import one_graph_per_shape
from ssdet_cli.engine.numbers import precision
from ssdet_cli.engine.optim import build_optimizer, lr_factor, set_lr
from ssdet_cli.engine.out_of_memory import is_out_of_memory
from ssdet_cli.engine.state import Progress, draw_seed, seed_all
from ssdet_cli.tasks.interface import Task


@dataclass
class Meter:
    """Sums metrics on the device; asks for them on the host only when a line is written."""

    totals: dict[str, Tensor] = field(default_factory=dict)

    def add(self, totals: dict[str, Tensor]) -> None:
        """Add (sum, count) pairs."""
        for name, value in totals.items():
            self.totals[name] = self.totals[name] + value if name in self.totals else value

    def means(self, session: Session) -> dict[str, float]:
        """Means over all that was added, on all ranks; clears the meter."""
        summed = session.sum(self.totals)
        self.totals = {}
        return {name: (value[0] / value[1].clamp_min(1e-12)).item() for name, value in summed.items()}


class Trainer:
    """State of one `fit`: network, optimiser, averaged weights, loss scale, counters.

    Kept apart from `fit` so that a checkpoint is one call and each step one short method.

    Args:
        model: Network.
        task: Prepares batches and gives losses.
        optim: Optimiser and schedule.
        loop: Length, accumulation, precision.
        session: This process among all.
        seed: Of every draw.
        meta: What travels with the weights.
        compiled: Train through `torch.compile`; validation stays uncompiled, whose videos have every length.
        channels_last: Keep weights and clips channels-last in memory.
        say: Prints a line.
        plan: Shapes, splits and rates of a multigrid training; None leaves all batches alike.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        *,
        optim: OptimConfig,
        loop: LoopConfig,
        session: Session,
        seed: int,
        meta: dict[str, Any],
        compiled: bool = False,
        channels_last: bool = False,
        say: Callable[[str], None] = print,
        plan: Plan | None = None,
    ) -> None:
        self.channels_last, self.say, self.plan = channels_last, say, plan
        self.model = model.to(session.device)
        if channels_last:
            self.model.to(memory_format=torch.channels_last_3d)
        self.task, self.optim, self.loop, self.session, self.seed, self.meta = task, optim, loop, session, seed, meta
        if plan is not None:
            one_graph_per_shape(len(plan.turns))
            self._split_norms(plan.most_splits)  # what is split at any time is a split norm at all times
        self.optimizer = build_optimizer(self.model, optim)
        self.average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(loop.ema), use_buffers=True)
            if loop.ema
            else None
        )
        self.progress = Progress()
        self.meter, self.watch = Meter(), LossWatch()
        self._meters: list[dict[str, Tensor]] = []
        self.replica = self._replica(compiled)
        shapes = {} if plan is None else {"dynamic": False}
        self.network: nn.Module = torch.compile(self.replica, **shapes) if compiled else self.replica
        if compiled:
            say("torch.compile compiles the network in the first step; that may take minutes.")
        self.autocast = precision(loop.precision, session.device)
        self.scaler = torch.amp.GradScaler(session.device.type, enabled=loop.precision == "fp16")

    def _replica(self, compiled: bool) -> nn.Module:
        """The network whose backward pass averages gradients over the ranks.

        Its graph is static: parameters that a network leaves unused are found once, and blocks may run again in the
        backward pass. Where some backward passes of a step do not reduce (accumulation), torch's reducer cannot have
        that, and where the network is compiled, the compiler cuts it at the buckets of one that is not static.
        """
        if self.session.world_size == 1:
            return self.model
        self.session.join()
        on_gpu = self.session.device.type == "cuda"
        return DistributedDataParallel(
            self.model,
            device_ids=[self.session.device] if on_gpu else None,
            static_graph=self.loop.accumulate == 1 and not compiled,
            gradient_as_bucket_view=True,
        )

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are validated and shipped: the averaged ones where there are any."""
        return self.average.module if self.average is not None else self.model

    def step(self, batches: Iterator[VideoBatch]) -> tuple[int, float, list[VideoBatch]]:
        """One optimiser step; returns clips, seconds waited for data, and the batches."""
        step, rank = self.progress.step, self.session.rank
        set_lr(self.optimizer, lr_factor(step, self.loop.steps, self.optim) * self._turn_to(step))
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        watched = self._before() if self.loop.skip_bad_batches else None
        waited, seen = 0.0, []
        for part in range(self.loop.accumulate):
            began = perf_counter()
            batch = next(batches)
            waited += perf_counter() - began
            seen.append(batch)
            last = part == self.loop.accumulate - 1
            with self._hold_reduction(last):
                self._backward(batch, (step, rank, part))
        norm = self._gradient_norm()
        self.progress.step += 1
        if not self.scaler.is_enabled():  # an infinite gradient lowers the loss scale, and says nothing about the data
            self.watch.note_gradient(step + 1, norm)
        if watched is not None and self.session.any(not self.watch.is_finite(step + 1)):
            self._forget(watched)
        else:
            self._update(norm)
        return sum(map(len, seen)), waited, seen

    def _turn_to(self, step: int) -> float:
        """Split the norms as a step has it; returns its factor on the learning rate."""
        if self.plan is None:
            return 1.0
        turn = self.plan.at(step)
        self._split_norms(turn.norm_splits)
        if self.average is not None:
            self._split_norms(turn.norm_splits, self.average)
        return turn.lr

    def _split_norms(self, splits: int, network: nn.Module | None = None) -> None:
        for part in (network or self.model).modules():
            if hasattr(part, "set_norm_splits"):
                part.set_norm_splits(splits)

    def shape_of_last_step(self) -> dict[str, int]:
        """Clips over all ranks, frames, pixels and norm splits; empty where batches are all alike."""
        if self.plan is None:
            return {}
        turn = self.plan.at(self.progress.step - 1)
        clips = turn.clips * self.loop.accumulate * self.session.world_size
        return {
            "batch": clips,
            "frames": turn.shape.frames,
            "size": turn.shape.size,
            "norm_splits": turn.norm_splits,
        }

    def _hold_reduction(self, last: bool) -> AbstractContextManager:
        return nullcontext() if last or self.session.world_size == 1 else self.replica.no_sync()

    def _backward(self, batch: VideoBatch, place: tuple[int, int, int]) -> None:
        seed_all(draw_seed(self.seed, 1, *place))
        generator = torch.Generator().manual_seed(draw_seed(self.seed, 2, *place))
        with torch.no_grad():
            batch = self.task.prepare(batch.to(self.session.device, non_blocking=True), generator)
        if self.channels_last:
            batch = replace(batch, frames=batch.frames.contiguous(memory_format=torch.channels_last_3d))
        result = self.task.loss(self._forward(batch, draw_seed(self.seed, 1, *place)), batch)
        self.scaler.scale(result.loss / self.loop.accumulate).backward()
        self.meter.add(dict(result.totals))
        self.watch.note(place[0] + 1, result.loss.detach(), batch.video_ids)

    def _forward(self, batch: VideoBatch, seed: int) -> Tensor:
        """Logits; a compiler that does not work here is given up and said aloud."""
        inputs = batch.network_inputs()
        with self.autocast():
            if self.network is self.replica:
                return self.network(batch.frames, **inputs)
            try:
                return self.network(batch.frames, **inputs)
            except (RuntimeError, OSError) as error:
                if is_out_of_memory(error):
                    raise
                reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            self.say(f"The network runs uncompiled, torch.compile does not work here: {reason.strip()}")
            self.network = self.replica
            seed_all(seed)
            return self.network(batch.frames, **inputs)

    def _gradient_norm(self) -> Tensor:
        """Norm of the whole gradient, over all ranks; on the device."""
        self.scaler.unscale_(self.optimizer)
        return nn.utils.get_total_norm([each.grad for each in self.model.parameters() if each.grad is not None])

    def _update(self, norm: Tensor) -> None:
        if self.optim.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.optim.clip_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        known = torch.isfinite(norm).double()
        self.meter.add({"grad_norm": torch.stack((norm.double().nan_to_num(0.0, 0.0, 0.0), known))})

    def _before(self) -> tuple[dict[str, Tensor], list[Tensor]]:
        """What a bad batch would leave its traces in: metrics and running statistics."""
        return dict(self.meter.totals), [buffer.clone() for buffer in self.model.buffers()]

    def _forget(self, before: tuple[dict[str, Tensor], list[Tensor]]) -> None:
        self.meter.totals, buffers = before
        with torch.no_grad():
            for buffer, value in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(value)
        if self.scaler.is_enabled():
            self.scaler.update(self.scaler.get_scale())  # unscale_ may be called again
        self.progress.skipped += 1

    def gather_meter(self) -> None:
        """Bring the ranks' sums together for a checkpoint between two lines of the log; every rank must call it."""
        totals = {name: value.cpu() for name, value in self.meter.totals.items()}
        self._meters = self.session.gather(totals)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; `model` is always the set of weights to use."""
        return {
            "model": self.evaluated.state_dict(),
            "trained": self.model.state_dict() if self.average is not None else None,
            "averaged_steps": int(self.average.n_averaged) if self.average is not None else 0,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "progress": vars(self.progress),
            "meters": self._meters,
            "world_size": self.session.world_size,
            "meta": self.meta,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state."""
        self._turn_to(max(0, state["progress"]["step"] - 1))  # statistics have the splits of the last step
        self.model.load_state_dict(state["trained"] or state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["model"])
            self.average.n_averaged.fill_(state["averaged_steps"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        meters = state.get("meters") or []
        if self.session.rank < len(meters):
            self.meter.totals = {
                name: value.to(self.session.device) for name, value in meters[self.session.rank].items()
            }
