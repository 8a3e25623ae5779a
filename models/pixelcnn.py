"""PixelCNN."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.autoregressive import Autoregressive, Harmonics, Stream, levels
from zoo.errors import ZooError
from zoo.event import Event
from zoo.registry import family


class Block(nn.Module):
    def __init__(self, width: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.width, self.reach = width, reach
        self.above = nn.Conv2d(width, 2 * width, (reach + 1, 2 * reach + 1))
        self.left = nn.Conv2d(width, 2 * width, (1, reach + 1))
        self.link = nn.Conv2d(width, 2 * width, 1)
        self.dropout = nn.Dropout(dropout)

    def down(self, v: Tensor) -> Tensor:
        wide = F.pad(self.dropout(F.elu(v)), (self.reach, self.reach))
        return v[:, :, self.reach :] + F.glu(self.above(wide), 1)

    def right(self, h: Tensor, linked: Tensor) -> Tensor:
        return h[..., self.reach :] + F.glu(self.left(self.dropout(F.elu(h))) + linked, 1)


@family(
    "pixelcnn",
    group="autoregressive",
    paper="van den Oord et al. 2016, arXiv:1606.05328",
    supports=("binary", "levels"),
    recipe={
        "steps": 1200,
        "batch": 50,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.1,
        "schedule": "onecycle",
        "clip": 1.0,
        "average": 0.995,
    },
)
class PixelCNN(nn.Module):
    def __init__(self, event: Event, *, width: int = 48, blocks: int = 5, first: int = 3, reach: int = 1, dropout: float = 0.3, in_dropout: float = 0.0, head_dropout: float = 0.3, smooth: float = -1.0) -> None:
        super().__init__()
        self.event, self.first, self.reach = event, first, reach
        self.grid = _grid(event)
        self.encode = Harmonics(event)
        self.above = nn.Conv2d(self.encode.size, width, (first, 2 * first + 1))
        self.left = nn.Conv2d(self.encode.size, width, (1, first))
        self.place_v = nn.Parameter(0.1 * torch.randn(width, *self.grid))
        self.place_h = nn.Parameter(0.1 * torch.randn(width, *self.grid))
        self.blocks = nn.ModuleList(Block(width, reach, dropout) for _ in range(blocks))
        last = [nn.Conv2d(width, levels(event), 1)]
        if smooth >= 0:
            fs = torch.arange(1, self.encode.size + 1)
            mat = torch.cos(torch.arange(levels(event))[:, None].add(0.5) * torch.pi / levels(event) * fs) / fs**smooth
            fix = nn.Conv2d(self.encode.size, levels(event), 1, bias=False)
            fix.weight.data = mat[:, :, None, None]
            fix.weight.requires_grad_(False)
            last = [nn.Conv2d(width, self.encode.size, 1), fix]
        self.last = last[0]
        self.head = nn.Sequential(nn.ELU(), nn.Dropout(head_dropout), *last)
        self.bias = nn.Parameter(torch.zeros(levels(event), *self.grid))
        self.ind = nn.Dropout(in_dropout)

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            return pyro.sample("x", Autoregressive(self.event, self.logits, self.stream), obs=x)

    def initialise(self, x: Tensor) -> None:
        counts = F.one_hot(x.reshape(-1, *self.grid).long(), levels(self.event)).sum(0) + 1.0
        self.bias.copy_((counts / counts.sum(-1, keepdim=True)).log().movedim(-1, 0))
        self.last.weight.mul_(0.1)

    def logits(self, x: Tensor) -> Tensor:
        f = self.ind(self.encode(x.reshape(-1, *self.grid)).movedim(-1, 1))
        r = self.first
        v = self.above(F.pad(f, (r, r, r, 0))[:, :, :-1]) + self.place_v
        h = self.left(F.pad(f, (r, 0))[..., :-1]) + self.place_h
        for block in self.blocks:
            v = block.down(F.pad(v, (0, 0, self.reach, 0)))
            h = block.right(F.pad(h, (self.reach, 0)), block.link(v))
        return (self.head(h) + self.bias).movedim(1, -1).reshape(*x.shape, -1)

    def stream(self, n: int) -> Stream:
        height, width = self.grid
        zeros = self.bias.new_zeros
        f = zeros(n, self.encode.size, height + self.first, width + 2 * self.first)
        rows = [zeros(n, b.width, height + b.reach, width) for b in self.blocks]
        for i in range(height):
            v = self.above(f[:, :, i : i + self.first]) + self.place_v[:, i : i + 1]
            links = []
            for block, row in zip(self.blocks, rows, strict=True):
                row[:, :, i + block.reach] = v[:, :, 0]
                v = block.down(row[:, :, i : i + block.reach + 1])
                links.append(block.link(v))
            hs = [zeros(n, b.width, 1, width + b.reach) for b in self.blocks]
            for j in range(width):
                h = self.left(f[:, :, i + self.first : i + self.first + 1, j : j + self.first]) + self.place_h[:, i : i + 1, j : j + 1]
                for block, past, linked in zip(self.blocks, hs, links, strict=True):
                    past[..., j + block.reach] = h[..., 0]
                    h = block.right(past[..., j : j + block.reach + 1], linked[..., j : j + 1])
                value = yield (self.head(h) + self.bias[:, i : i + 1, j : j + 1])[:, :, 0, 0]
                f[:, :, i + self.first, j + self.first] = self.encode(value)


def _grid(event: Event) -> tuple[int, int]:
    if len(event.shape) == 2 or len(event.shape) == 3 and event.shape[0] == 1:
        return event.shape[-2], event.shape[-1]
    raise ZooError(f"pixelcnn needs an image of shape (height, width) or (1, height, width), got {event}; wavenet takes any shape")
