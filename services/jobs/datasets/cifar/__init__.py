"""CIFAR-10 and CIFAR-100, the Python and the binary version.

Layout: https://www.cs.toronto.edu/~kriz/cifar.html and torchvision.datasets.CIFAR10.
"""

from services.jobs.datasets.cifar.datasets import Cifar10, Cifar100, Cifar100Coarse

__all__ = ["Cifar10", "Cifar100", "Cifar100Coarse"]
