"""Which model a set of weights is, by their names; and the same weights by open_clip's names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from clsclip.errors import TowersError
from clsclip.weights.files import WeightsFile
from clsclip.weights.hf_names import open_clip_state

OPEN_CLIP, HUGGING_FACE = "visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"
"""The weight that every CLIP with a ViT has, by open_clip's and OpenAI's names and by those of transformers."""

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names that PyTorch's wrappers put between others."""

OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")
"""What only OpenAI's own files hold besides weights."""

_NO_WEIGHTS = (*OPENAI_KEYS, "attn_mask")

_PLAIN = "ClsCLIP needs a CLIP whose image tower is a plain ViT with [CLS], as ViT-B-16 is"

OTHER_MODELS: tuple[tuple[str, str], ...] = (
    ("lora_A.", "a LoRA adapter of PEFT. Merge it into its CLIP with merge_and_unload(), and save that"),
    ("decoder.film_mul.weight", "CLIPSeg's weights. Run: clsclip-export --clipseg FOLDER"),
    ("prompts_generator.", f"an X-CLIP's weights, which is for videos. {_PLAIN}"),
    ("box_head.", f"an OWL-ViT's weights, which is a detector. {_PLAIN}"),
    ("vision_model.pre_layernorm.", f"an OWL-ViT's weights, which is a detector. {_PLAIN}"),
    ("text_model.roberta.", f"an AltCLIP's weights, with a RoBERTa as its text tower. {_PLAIN}"),
    ("text_decoder.bert.", f"a BLIP's weights. {_PLAIN}"),
    ("itm_head.", f"a BLIP's weights. {_PLAIN}"),
    ("qformer.", f"a BLIP-2's weights. {_PLAIN}"),
    ("logit_bias", f"a SigLIP's weights: they have a logit_bias. {_PLAIN}"),
    ("vision_model.head.probe", f"a SigLIP's weights. {_PLAIN}"),
    ("vision_model.embeddings.patch_embedding.bias", f"a SigLIP's weights. {_PLAIN}"),
    ("visual.trunk.", f"weights of an image tower of timm, as SigLIP and many others have it. {_PLAIN}"),
    ("visual.layer1.", f"a CLIP's weights with a ResNet as its image tower. {_PLAIN}"),
    ("visual.blocks.", f"an EVA-CLIP's weights. {_PLAIN}"),
    ("visual.attn_pool.", f"a CLIP's weights that pools its image by attention, as CoCa does. {_PLAIN}"),
    ("text_decoder.", f"CoCa's weights. {_PLAIN}"),
    ("text_model.embeddings.word_embeddings.", f"a CLIP's weights with a BERT as its text tower. {_PLAIN}"),
    ("text.transformer.embeddings.", f"a CLIP's weights with a text tower of transformers. {_PLAIN}"),
    ("text_encoder.", f"weights of a model with another text encoder. {_PLAIN}"),
    ("blocks.0.attn.qkv.weight", f"weights of a ViT alone, of timm or DINO. {_PLAIN}"),
    ("encoder.layer.0.attention.attention.query.weight", f"weights of a ViT alone, of transformers. {_PLAIN}"),
    ("encoder.layers.encoder_layer_0.", f"weights of a ViT alone, of torchvision. {_PLAIN}"),
    ("maps.", "a ClsCLIP checkpoint, which holds no towers. Give it as --ckpt or --from-checkpoint"),
    ("double_blocks.", f"weights of an image generator. {_PLAIN}"),
    ("down_blocks.", f"weights of an image generator. {_PLAIN}"),
)
"""What tells another model, most telling first: a name's beginning, after a dot or at the start."""


_PART_OF_OTHERS = ("clip.", "owlvit.", "owlv2.")
"""Under these names a CLIP is a part of another model: CLIPSeg, OWL-ViT."""


@dataclass(frozen=True)
class Recognized:
    """Weights of a CLIP.

    Attributes:
        state: by open_clip's names.
        form: for people, such as "OpenAI's state dict".
        openai: whether the file is OpenAI's own, so that its activation and normalization are known.
        activation: as the file's own code tells; None where there is none.
    """

    state: dict[str, Tensor]
    form: str
    openai: bool
    activation: str | None


def recognized(file: WeightsFile, origin: str) -> Recognized:
    """Tell which CLIP a file holds.

    Args:
        file: what was read.
        origin: its name, for messages.

    Raises:
        TowersError: it holds no CLIP, several, or one of a kind that cannot be used.
    """
    tensors = unwrapped(file.tensors, origin)
    places = {anchor: prefixes(tensors, anchor) for anchor in (OPEN_CLIP, HUGGING_FACE)}
    found = [(anchor, prefix) for anchor, some in places.items() for prefix in some]
    if not found:
        raise TowersError(f"{origin} holds {other(tensors)}.")
    if len(found) > 1:
        where = " and ".join(repr(prefix) for _, prefix in found[:3])
        raise TowersError(
            f"{origin} holds {len(found)} models, under {where}, and does not say which is meant. Save one alone."
        )
    anchor, prefix = found[0]
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    told = other_model(own) or (other_model(tensors) if prefix in _PART_OF_OTHERS else None)
    if told is not None:
        raise TowersError(f"{origin} holds {told}.")
    openai = all(name in own for name in OPENAI_KEYS)
    under = f", under {prefix!r}" if prefix else ""
    if anchor == HUGGING_FACE:
        if not any(name.startswith("text_model.") for name in own):
            raise TowersError(f"{origin} holds the image tower of a CLIP alone: its text tower is needed too.")
        own = {name: value for name, value in own.items() if not name.endswith(".position_ids")}
        try:
            state = open_clip_state(own)
        except TowersError as error:
            raise TowersError(f"{origin} cannot be used: {error}. Fetch or save it again.") from error
        check_floats(state, origin)
        return Recognized(state, f"a CLIPModel's names of transformers{under}", False, file.activation)
    state = {name: value for name, value in own.items() if name.rpartition(".")[2] not in _NO_WEIGHTS}
    check_floats(state, origin)
    form = f"{file.kind} of OpenAI's{under}" if openai else f"{file.kind} with open_clip's names{under}"
    return Recognized(state, form, openai, file.activation)


def check_floats(weights: Mapping[str, Tensor], origin: str) -> None:
    """TowersError where a weight is no floating-point tensor, as in quantized files."""
    for name, value in weights.items():
        if not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise TowersError(f"{origin}: its weights are {kind} ({name} is): a quantized file. Give the one in float.")


def unwrapped(tensors: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Leave out what wrappers put into names. TowersError where two weights then have one name."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        short = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if short in found:
            raise TowersError(f"{origin} holds the weight {short} twice, wrapped and plain. Save one model alone.")
        found[short] = value
    return found


def prefixes(names: Iterable[str], anchor: str) -> list[str]:
    """What stands before a weight's name wherever it is found."""
    return [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]


def other_model(names: Iterable[str]) -> str | None:
    """Which model of another kind has weights of these names; None for no known one."""
    known = list(names)
    for telling, what in OTHER_MODELS:
        if any(name.startswith(telling) or f".{telling}" in name for name in known):
            return what
    return None


def other(names: Iterable[str]) -> str:
    """Say what a file holds that is no CLIP."""
    known = sorted(names)
    if not known:
        return "no tensors"
    told = other_model(known)
    return told or f"{len(known)} tensors, none of them a CLIP's ({', '.join(known[:3])}). {_PLAIN}"
