"""One CLIP, tiny or not, in every form in which people have weights; nothing is downloaded."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

NAME, QUICK = "clsclip-test-tiny", "clsclip-test-tiny-quickgelu"
"""Names that :func:`register` gives open_clip."""

CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 48, "head_width": 16, "layers": 4},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def register(folder: Path) -> None:
    """Make the tiny CLIP a model that open_clip knows by name, with and without QuickGELU."""
    for name, more in ((NAME, {}), (QUICK, {"quick_gelu": True})):
        (folder / f"{name}.json").write_text(json.dumps(CONFIG | more), "utf-8")
    open_clip.add_model_config(folder)


def clip(quick_gelu: bool = True, config: dict[str, Any] | None = None) -> Any:
    """The model: random weights whose activations matter."""
    torch.manual_seed(7)
    model = open_clip.CLIP(**config or CONFIG, quick_gelu=quick_gelu).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim >= 2 and "embedding" not in name:
                value.normal_(std=value.shape[-1] ** -0.5)
            elif name.endswith("bias"):
                value.normal_(std=0.1)
    return model


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Its weights by open_clip's names."""
    return {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}


def transformers_of(model: Any, quick_gelu: bool = True) -> Any:
    """The same model as a ``CLIPModel`` of transformers, filled weight by weight."""
    from transformers import CLIPConfig, CLIPModel

    activation = "quick_gelu" if quick_gelu else "gelu"
    patch = model.visual.conv1.kernel_size[0]
    size = patch * round((len(model.visual.positional_embedding) - 1) ** 0.5)
    vision = tower_of(model.visual.transformer.resblocks) | {"image_size": size, "patch_size": patch}
    text = tower_of(model.transformer.resblocks) | {"max_position_embeddings": len(model.positional_embedding)}
    theirs = CLIPModel(
        CLIPConfig(
            vision_config=vision | {"hidden_act": activation},
            text_config=text | {"hidden_act": activation},
            projection_dim=model.visual.proj.shape[1],
        )
    ).eval()
    with torch.no_grad():
        fill_tower(theirs.vision_model.encoder.layers, model.visual.transformer.resblocks)
        fill_tower(theirs.text_model.encoder.layers, model.transformer.resblocks)
        visual, embeddings = model.visual, theirs.vision_model.embeddings
        embeddings.class_embedding.copy_(visual.class_embedding)
        embeddings.patch_embedding.weight.copy_(visual.conv1.weight)
        embeddings.position_embedding.weight.copy_(visual.positional_embedding)
        theirs.vision_model.pre_layrnorm.load_state_dict(visual.ln_pre.state_dict())
        theirs.vision_model.post_layernorm.load_state_dict(visual.ln_post.state_dict())
        theirs.text_model.embeddings.token_embedding.weight.copy_(model.token_embedding.weight)
        theirs.text_model.embeddings.position_embedding.weight.copy_(model.positional_embedding)
        theirs.text_model.final_layer_norm.load_state_dict(model.ln_final.state_dict())
        theirs.visual_projection.weight.copy_(visual.proj.T)
        theirs.text_projection.weight.copy_(model.text_projection.T)
        theirs.logit_scale.copy_(model.logit_scale)
    return theirs


def tower_of(layers: Any) -> dict[str, int]:
    """A tower's sizes by the names of transformers."""
    first = layers[0]
    return {
        "hidden_size": first.attn.embed_dim,
        "intermediate_size": first.mlp.c_fc.out_features,
        "num_hidden_layers": len(layers),
        "num_attention_heads": first.attn.num_heads,
    }


def fill_tower(theirs: Any, ours: Any) -> None:
    """One tower's layers."""
    for layer, own in zip(theirs, ours, strict=True):
        weights, biases = own.attn.in_proj_weight.chunk(3), own.attn.in_proj_bias.chunk(3)
        parts = (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
        for part, source in (
            (layer.self_attn.out_proj, own.attn.out_proj),
            (layer.layer_norm1, own.ln_1),
            (layer.layer_norm2, own.ln_2),
            (layer.mlp.fc1, own.mlp.c_fc),
            (layer.mlp.fc2, own.mlp.c_proj),
        ):
            part.load_state_dict(source.state_dict())


class Quick(nn.Module):
    """The root of a TorchScript archive; its code holds QuickGELU."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Exact(nn.Module):
    """Another root, with GELU."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x)


def tree(root: nn.Module, state: dict[str, Tensor], *, buffers: bool = True) -> nn.Module:
    """A module whose state is ``state``; OpenAI's three numbers beside it, as its archives have them."""
    for name, value in state.items():
        *path, last = name.split(".")
        at = root
        for part in path:
            if part not in at._modules:
                at.add_module(part, nn.Module())
            at = at._modules[part]  # type: ignore[assignment]
        at.register_parameter(last, nn.Parameter(value, requires_grad=False))
    if buffers:
        for name, number in (("input_resolution", 32), ("context_length", 20), ("vocab_size", 49408)):
            root.register_buffer(name, torch.tensor(number))
    return root


def save_archive(path: Path, model: nn.Module, root: type[nn.Module] = Quick, *, buffers: bool = True) -> Path:
    """A TorchScript archive with a CLIP's weights, as OpenAI publishes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and OpenAI's downloads stay what they are
        torch.jit.script(tree(root(), state_of(model), buffers=buffers)).save(str(path))
    return path


def save_open_clip(folder: Path, model: nn.Module, config: dict[str, Any] | None = None, **more: Any) -> Path:
    """A folder in open_clip's layout, without a tokenizer of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    document = {"model_cfg": (config or CONFIG) | {"quick_gelu": True} | more, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(document), "utf-8")
    save_file(state_of(model), folder / "open_clip_model.safetensors")
    return folder


def save_transformers(folder: Path, model: nn.Module, quick_gelu: bool = True) -> Path:
    """A folder as ``save_pretrained`` writes it, with a processor."""
    transformers_of(model, quick_gelu).save_pretrained(folder)
    size = model.visual.image_size[0] if isinstance(model.visual.image_size, tuple) else model.visual.image_size
    processor = {
        **{"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}, "do_center_crop": True},
        **{"image_mean": open_clip.OPENAI_DATASET_MEAN, "image_std": open_clip.OPENAI_DATASET_STD, "resample": 3},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), "utf-8")
    return folder
