"""Which encoders of a store have a network: imported vectors, and those derived from them, have none."""

from embedder.errors import NoNetwork
from store import Store


def require_network(store: Store, name: str) -> None:
    """Raise NoNetwork if the store's vectors of this name or fingerprint were imported."""
    found = [each for each in store.encoders() if name in (each.name, each.fingerprint)]
    if found and not any(each.spec.has_network for each in found):
        raise NoNetwork(found[0].name)
