"""Sets of prompt templates by name: those that the CLIP paper publishes for its data sets, and a few plain ones.

Source of the former: Radford et al. 2021 (arXiv 2103.00020), with data/prompts.md and
notebooks/Prompt_Engineering_for_ImageNet.ipynb of https://github.com/openai/CLIP, MIT licence. They are written here in
short: ``[a|the]`` stands for one template with each of the words.
"""

import re
from itertools import product

AS_WRITTEN = ":as-written"
"""Ending of the name of a set whose class names are to be used as they are written, without `prompts.words`."""

_DONE_BY = " a person| a person using| a person doing| a person during| a person performing| a person practicing"

_SHORT = {
    "name": ["{}"],
    "photo": ["a photo of a {}."],
    "name-and-photo": ["{}", "a photo of a {}."],
    "common": ["a [|close-up |bright |cropped ]photo of a {}.", "a good photo of the {}.", "a photo of one {}.", "{}"],
    "imagenet80": [
        "a [|bad |bright |cropped |close-up |blurry |good ]photo of [a|the] {}.",
        "a [low resolution|pixelated|jpeg corrupted] photo of [a|the] {}.",
        "a [dark|black and white] photo of [a|the] {}.",
        "a photo of [a|the] [hard to see|clean|dirty|cool|large|small|nice|weird] {}.",
        "a photo of [many|my|one] {}.",
        "a [sculpture|rendering|tattoo|drawing|painting|doodle|sketch|rendition] of [a|the] {}.",
        "[graffiti|art] of [a|the] {}.",
        "[a|the] [embroidered|plastic|origami|toy|cartoon|plushie] {}.",
        "[a|the] {} in a video game.",
        "itap of [a|the|my] {}.",
    ],
    "imagenet7": [
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the [large|small] {}.",
        "a {} in a video game.",
        "art of the {}.",
    ],
    "birdsnap": ["a photo of a {}, a type of bird."],
    "caltech101": [
        "[a photo|a painting|a sculpture|a sketch|a tattoo|a rendition|art|graffiti|a drawing|a doodle] of [a|the] {}.",
        "[a|the] [plastic|toy|embroidered|cartoon|plushie|origami] {}.",
        "[a|the] {} in a video game.",
    ],
    "cifar": [
        "a [|blurry |black and white |low contrast |high contrast |bad |good ]photo of [a|the] {}.",
        "a photo of [a|the] [small|big] {}.",
    ],
    "clevr-counts": ["a photo of {} objects."],
    "country211": [
        "a photo i took [in|while visiting] {}.",
        "a photo from my [home country of|visit to] {}.",
        "a photo showing the country of {}.",
    ],
    "dtd": ["a photo of [a|the] {} [texture|pattern|thing|object]."],
    "eurosat": ["a centered satellite photo of[| a| the] {}."],
    "fer2013": [
        "a photo of a {} looking face.",
        "a photo of a face showing the emotion: {}.",
        "a photo of a face looking {}.",
        "a face that looks {}.",
        "they look {}.",
        "look at how {} they are.",
    ],
    "fgvc-aircraft": ["a photo of [a|the] {}, a type of aircraft."],
    "flowers102": ["a photo of a {}, a type of flower."],
    "food101": ["a photo of {}, a type of food."],
    "gtsrb": ['a [zoomed in|centered|close up] photo of a "{}" traffic sign.'],
    "hateful-memes": ["a {}."],
    "kinetics700": [f"a [photo|video|example|demonstration] of[|{_DONE_BY}] {{}}."],
    "mnist": ['a photo of the number: "{}".'],
    "oxford-pets": ["a photo of a {}, a type of pet."],
    "patch-camelyon": ["this is a photo of {}"],
    "resisc45": ["[satellite|aerial] [imagery|photo|view] of[| a| the] {}."],
    "sst2": ["a {} review of a movie."],
    "stanford-cars": ["a photo of [a|the|my|my dirty|my clean|my new|my old] {}.", "i love my {}!"],
    "stl10": ["a photo of [a|the] {}."],
    "sun397": ["a photo of [a|the] {}."],
    "ucf101": [
        "a [photo|video|example|demonstration] of [a|the] person[| using| doing| during| performing| practicing] {}."
    ],
    "voc2007": ["a photo of a {}."],
}


def spelt_out(short: str) -> list[str]:
    """Return one template for each combination of the words in ``[…|…]``."""
    parts = [part[1:-1].split("|") if part.startswith("[") else [part] for part in re.split(r"(\[[^]]*\])", short)]
    return ["".join(each) for each in product(*parts)]


SETS = {name: tuple(template for short in shorts for template in spelt_out(short)) for name, shorts in _SHORT.items()}
"""The templates of each set. KITTI is missing, because its classes are whole sentences: `name` is its template."""
