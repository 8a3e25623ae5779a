"""Event files for TensorBoard, where the extra is installed (``pip install pyro-zoo[tensorboard]``)."""

from __future__ import annotations

from pathlib import Path

from zoo.errors import ZooError
from zoo.training.callbacks import Progress


class TensorBoard:
    """A callback that writes each checkpoint's numbers as scalars.

    Raises:
        ZooError: the extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ZooError("--tensorboard needs the extra: pip install 'pyro-zoo[tensorboard]'") from error
        self._writer = SummaryWriter(str(folder))

    def on_progress(self, progress: Progress) -> None:
        """Nothing between checkpoints."""

    def on_checkpoint(self, progress: Progress) -> None:
        if progress.history:
            last = progress.history[-1]
            for name in ("train", "validation", "discrepancy", "lr"):
                self._writer.add_scalar(name, last[name], int(last["step"]))
            self._writer.flush()
