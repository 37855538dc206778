"""MSR-VTT: 10,000 clips of videos, each with twenty captions and one of twenty categories.

Layout: the readme of the data set (`*videodatainfo*.json`, `category.txt`) of Xu et al., "MSR-VTT", CVPR 2016:
``{"videos": [{"video_id", "category", "split"}], "sentences": [{"video_id", "caption"}]}``.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.jobs.annotations.json_stream import pieces
from services.jobs.annotations.text import open_text
from services.jobs.datasets.dataset import Dataset, first
from services.jobs.datasets.listed import Listed
from services.jobs.datasets.texts import captions
from store.errors import BadSource
from store.items import Item

SPLITS = {"train": "train", "validate": "val", "test": "test"}

CATEGORIES = (
    *("music", "people", "gaming", "sports/actions", "news/events/politics", "education", "tv shows"),
    *("movie/comedy", "animation", "vehicles/autos", "howto", "travel", "science/technology", "animals/pets"),
    *("kids/family", "documentary", "food/drink", "cooking", "beauty/fashion", "advertisement"),
)
"""Names of the categories by their numbers, from `category.txt`."""

_INFO = "*videodatainfo*.json"
Video = Mapping[str, object]


class _MsrVtt(Dataset, ABC):
    @classmethod
    def sign(cls, root: Path) -> Path | None:
        return first(root, _INFO, f"*/{_INFO}")

    @abstractmethod
    def labels(self, video: Video, texts: list[object], place: str) -> list[str] | None:
        """Return the labels of one video from its entry and its captions."""

    def items(self) -> Iterator[Item]:
        path = self.sign(self.root)
        if path is None:
            raise BadSource(f"{self.root} has no {_INFO} any more")
        clips, seen = Listed(self), set[str]()
        for each in sorted(path.parent.glob(_INFO)):
            videos, texts = self._load(each)
            for name, video in videos.items():
                if name in seen:
                    continue
                seen.add(name)
                labels = self.labels(video, texts.get(name, []), f"{each}, {name}")
                if item := clips.take(name, labels, SPLITS[str(video["split"])]):
                    yield item
        clips.close()

    def _load(self, path: Path) -> tuple[dict[str, Video], dict[str, list[object]]]:
        """Return the videos of a file by their names, and the captions of each."""
        videos: dict[str, Video] = {}
        texts: defaultdict[str, list[object]] = defaultdict(list)
        with open_text(path) as text:
            for key, piece in pieces(text, path):
                element: Video = piece if isinstance(piece, Mapping) else {}
                name = element.get("video_id")
                if key == "videos" and isinstance(name, str) and str(element.get("split")) in SPLITS:
                    videos[name] = element
                elif key == "sentences" and isinstance(name, str):
                    texts[name].append(element.get("caption"))
                elif key in ("videos", "sentences"):
                    self.count("rows_damaged", f"{path}, {key}: {str(piece)[:80]}")
        if not videos:
            raise BadSource(f"{path} lists no videos: it is damaged or another file")
        for name in texts.keys() - videos.keys():
            self.count("rows_damaged", f"{path}: captions of {name}, which is not among its videos", len(texts[name]))
        return videos, texts


class MsrVtt(_MsrVtt):
    """MSR-VTT with its captions as labels."""

    understood = "captions of MSR-VTT; train is train, validate is val, test is test"
    captions = True

    def labels(self, _: Video, texts: list[object], place: str) -> list[str] | None:
        return captions(self, texts, place)


class MsrVttCategories(_MsrVtt):
    """MSR-VTT with the category of each video as its class."""

    understood = "MSR-VTT: 20 categories; train is train, validate is val, test is test"

    def labels(self, video: Video, _: list[object], place: str) -> list[str] | None:
        number = video.get("category")
        if isinstance(number, int) and 0 <= number < len(CATEGORIES):
            return [CATEGORIES[number]]
        self.count("rows_damaged", f"{place}: there is no category {number}")
        return None
