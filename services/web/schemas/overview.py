"""The answer of GET /v1/overview."""

from pydantic import BaseModel, Field


class ClassCount(BaseModel):
    """A label of a task, with the number of its assets in each split."""

    name: str = Field(description="The label.")
    train: int = Field(description="Assets in the split train.")
    val: int = Field(description="Assets in the split val.")
    test: int = Field(description="Assets in the split test.")
    ood: int = Field(description="Out-of-distribution assets.")
    none: int = Field(description="Assets in no split.")

    @property
    def count(self) -> int:
        """Number of assets with the label."""
        return self.train + self.val + self.test + self.ood + self.none


class TaskOverview(BaseModel):
    """A task, with its labels, the most frequent first."""

    name: str = Field(description="The task.")
    labelled: int = Field(description="Number of assets with a row of labels, which may be empty.")
    many: bool = Field(description="True if an asset has several labels.")
    classes: list[ClassCount] = Field(description="The labels, the most frequent first.")


class StoredEncoder(BaseModel):
    """An encoder with stored vectors."""

    name: str = Field(description="Name of the encoder.")
    fingerprint: str = Field(description="Fingerprint of the encoder.")
    rows: int = Field(description="Number of stored vectors.")
    dimension: int = Field(description="Number of values of a vector.")
    modalities: list[str] = Field(description="The modalities that it embeds.")
    network: bool = Field(description="False for imported vectors: nothing new can be embedded beside them.")
    texts: bool = Field(description="True if it embeds texts too.")


class OverviewResponse(BaseModel):
    """What the store has, in numbers."""

    store: bool = Field(description="False if there is no store yet; then everything else is empty.")
    assets: int = Field(description="Number of stored assets.")
    modalities: dict[str, int] = Field(description="Number of assets of each modality, the most frequent first.")
    quarantined: int = Field(description="Number of rows in quarantine.")
    tasks: list[TaskOverview] = Field(description="All tasks, sorted by name.")
    encoders: list[StoredEncoder] = Field(description="The encoders with stored vectors.")
    version: str = Field(description="Changes whenever something in the store changes.")
    version_without_labels: str = Field(description="Changes whenever something but labels changes.")
