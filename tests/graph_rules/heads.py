"""Detection heads with the operations that YOLOv5, YOLOv7 and YOLOX export, over a small backbone of their blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES, ANCHORS = 4, 3


class Backbone(nn.Module):
    """Convolutions with each activation of these families, pooling, and the way up again: strides 8 and 16."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.focus = nn.Conv2d(12, 8, 3, 2, 1)
        self.depth = nn.Conv2d(8, 8, 3, 2, 1, groups=8)
        self.down = nn.Conv2d(8, 8, 3, 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.norm, self.activation = nn.BatchNorm2d(8), activation

    def forward(self, images: Tensor) -> list[Tensor]:
        parts = [images[..., at::2, to::2] for at in (0, 1) for to in (0, 1)]
        fine = self.activation(self.norm(self.depth(self.activation(self.focus(torch.cat(parts, 1))))))
        coarse = self.down(fine)
        coarse = torch.cat([coarse[:, :4], self.pool(coarse)[:, :4]], 1) + coarse
        return [fine + self.up(coarse), coarse]


class YoloV5(nn.Module):
    """(B, N, 5 + C): center, size, objectness and scores. Some versions split the rows, others slice them."""

    def __init__(self, *, split: bool, activation: nn.Module) -> None:
        super().__init__()
        self.backbone, self.split = Backbone(activation), split
        self.heads = nn.ModuleList(nn.Conv2d(8, ANCHORS * (5 + CLASSES), 1) for _ in range(2))
        self.strides = (8, 16)
        self.register_buffer("anchors", torch.rand(2, 1, ANCHORS, 1, 1, 2) * 20 + 5)

    def forward(self, images: Tensor) -> Tensor:
        found = []
        for at, features in enumerate(self.backbone(images)):
            rows = self.heads[at](features)
            batch, _, height, width = rows.shape
            rows = rows.view(batch, ANCHORS, 5 + CLASSES, height, width).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            grid = torch.stack((x, y), 2).expand(1, ANCHORS, height, width, 2).float() - 0.5
            anchors = self.anchors[at].expand(1, ANCHORS, height, width, 2)
            if self.split:
                center, size, scores = rows.split((2, 2, 1 + CLASSES), 4)
            else:
                center, size, scores = rows[..., 0:2], rows[..., 2:4], rows[..., 4:]
            center, size = (center * 2 + grid) * self.strides[at], (size * 2) ** 2 * anchors
            found.append(torch.cat((center, size, scores), 4).view(batch, -1, 5 + CLASSES))
        return torch.cat(found, 1)


class _Suppression(torch.autograd.Function):
    """The operator NonMaxSuppression, as YOLOv7's export writes it."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, most: Tensor, iou: Tensor, least: Tensor) -> Tensor:
        return torch.zeros(5, 3, dtype=torch.int64)

    @staticmethod
    def symbolic(graph: Any, *inputs: Any) -> Any:
        return graph.op("NonMaxSuppression", *inputs)


class YoloV7(nn.Module):
    """(N, 7): picture, box, class and score, suppressed in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = YoloV5(split=True, activation=nn.SiLU())
        self.register_buffer(
            "corners",
            torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]]),
        )

    def forward(self, images: Tensor) -> Tensor:
        rows = self.inner(images)
        boxes = rows[:, :, :4] @ self.corners
        scores = rows[:, :, 5:] * rows[:, :, 4:5]
        best, category = scores.max(2, keepdim=True)
        spread = category.float() * 640
        chosen = _Suppression.apply(
            boxes + spread,
            best.transpose(1, 2).contiguous(),
            torch.tensor([100]),
            torch.tensor([0.45]),
            torch.tensor([0.25]),
        )
        image, row = chosen[:, 0], chosen[:, 2]
        parts = boxes[image, row, :], category[image, row, :].float(), best[image, row, :]
        return torch.cat([image.unsqueeze(1).float(), *parts], 1)


class YoloX(nn.Module):
    """(B, N, 5 + C), raw or decoded."""

    def __init__(self, *, decoded: bool, activation: nn.Module) -> None:
        super().__init__()
        self.backbone, self.decoded = Backbone(activation), decoded
        self.boxes, self.sure, self.classes = (nn.Conv2d(8, count, 1) for count in (4, 1, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        found, sizes = [], []
        for features in self.backbone(images):
            rows = torch.cat([self.boxes(features), self.sure(features).sigmoid(), self.classes(features).sigmoid()], 1)
            found.append(rows.flatten(start_dim=2))
            sizes.append(rows.shape[-2:])
        rows = torch.cat(found, dim=2).permute(0, 2, 1)
        if not self.decoded:
            return rows
        grids, strides = [], []
        for (height, width), stride in zip(sizes, (8, 16), strict=True):
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            grid = torch.stack((x, y), 2).view(1, -1, 2)
            grids.append(grid)
            strides.append(torch.full((*grid.shape[:2], 1), stride))
        grid, step = torch.cat(grids, 1).float(), torch.cat(strides, 1).float()
        return torch.cat([(rows[..., 0:2] + grid) * step, torch.exp(rows[..., 2:4]) * step, rows[..., 4:]], dim=-1)


class Swish(nn.Module):
    """SiLU as families write it that export for engines without one."""

    def forward(self, values: Tensor) -> Tensor:
        return values * torch.sigmoid(values)


class Hardswish(nn.Module):
    """As YOLOv5's first versions export it."""

    def forward(self, values: Tensor) -> Tensor:
        return values * functional.hardtanh(values + 3, 0.0, 6.0) / 6.0


HEADS: dict[str, Callable[[], tuple[nn.Module, Sequence[str]]]] = {
    "yolov5": lambda: (YoloV5(split=True, activation=nn.SiLU()), ["output0"]),
    "yolov5-first": lambda: (YoloV5(split=False, activation=Hardswish()), ["output"]),
    "yolov7": lambda: (YoloV5(split=False, activation=nn.LeakyReLU(0.1)), ["output"]),
    "yolov7-nms": lambda: (YoloV7(), ["output"]),
    "yolox": lambda: (YoloX(decoded=False, activation=Swish()), ["output"]),
    "yolox-decoded": lambda: (YoloX(decoded=True, activation=nn.ReLU()), ["output"]),
}
"""By family: the model, and the names of its outputs."""
