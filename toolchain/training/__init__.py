"""Training: one straight, seeded loop, and the run directory it leaves behind."""

from toolchain.training.batches import TrainingImages
from toolchain.training.evaluate import accuracy
from toolchain.training.loop import initial_model, train
from toolchain.training.progress import Event, Progress
from toolchain.training.run import Run, RunResult, load_run

__all__ = [
    "Event",
    "Progress",
    "Run",
    "RunResult",
    "TrainingImages",
    "accuracy",
    "initial_model",
    "load_run",
    "train",
]
