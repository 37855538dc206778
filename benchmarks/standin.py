"""ViT-B/32 with random weights, for machines without a hub, in the formats that loaders read.

The random model is as fast as a trained one; its vectors have no meaning.
"""

import gzip
import json
import logging
from pathlib import Path

import torch

NAME = "vit-b-32"
"""The encoder's name on the command lines of benchmarks."""


def resolve(name: str, folder: Path) -> str:
    """Return the name of the encoder to load. For the stand-in's name, make a checkpoint in `folder` first."""
    return f"openclip/ViT-B-32-quickgelu@{open_clip_checkpoint(folder)}" if name == NAME else name


def open_clip_checkpoint(folder: Path) -> Path:
    import open_clip
    from safetensors.torch import save_file

    path = folder / "vit-b-32.safetensors"
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that the weights are random
    torch.manual_seed(0)
    save_file(open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).state_dict(), path)
    return path


def hugging_face_folder(folder: Path) -> Path:
    """Write CLIP ViT-B/32 as a folder for transformers 4.x and 5.x, with CLIP's vocabulary from open_clip."""
    import open_clip
    from open_clip import tokenizer
    from transformers import CLIPConfig, CLIPModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    made = folder / "clip-vit-base-patch32"
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(made)
    with gzip.open(tokenizer.default_bpe(), "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    (made / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    theirs = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {theirs.get(word, word): i for word, i in open_clip.get_tokenizer("ViT-B-32").encoder.items()}
    (made / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings = {
        "tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
        | ends
        | {"pad_token": "<|endoftext|>"},
        "preprocessor_config.json": {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "CLIPProcessor",
            "size": {"shortest_edge": 224},
            "crop_size": {"height": 224, "width": 224},
            "resample": 3,
            "image_mean": list(open_clip.OPENAI_DATASET_MEAN),
            "image_std": list(open_clip.OPENAI_DATASET_STD),
            **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"), True),
        },
    }
    for name, content in settings.items():
        (made / name).write_text(json.dumps(content))
    return made
