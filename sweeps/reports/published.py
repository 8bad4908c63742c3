"""Published results that a report draws beside a sweep: mean test accuracies, and the weights that remained."""

from sweeps.figures.drawing import Reference, paper_reference

_SIGNED, _DENSE = "signed supermask, arXiv 2201.13361, test", "dense, arXiv 2201.13361, test"
_EDGE_POPUP, _MULTI_PRIZE = "edge-popup, arXiv 1911.13299, test", "multi-prize, arXiv 2103.09377, test"

_RESNETS = {
    ("resnet20", "cifar10", 1.0): ((0.8168, 0.2113), 0.8491),
    ("resnet20", "cifar10", 2.0): ((0.8442, 0.0769), 0.8680),
    ("resnet20", "cifar10", 3.0): ((0.8489, 0.0406), 0.8732),
    ("resnet56", "cifar100", 1.0): ((0.6001, 0.2939), 0.6804),
    ("resnet110", "cifar100", 1.0): ((0.4642, 0.2064), 0.6270),
}
"""By network, data and width: accuracy and remaining of the signed supermask, and accuracy of the dense network."""

_OTHERS = {
    ("fcn", "mnist"): {_DENSE: (0.9742, 1.0)},
    ("conv2", "cifar10"): {_DENSE: (0.6879, 1.0), _EDGE_POPUP: (0.65, 0.1), _MULTI_PRIZE: (0.70, 0.1)},
    ("conv4", "cifar10"): {_DENSE: (0.7450, 1.0), _EDGE_POPUP: (0.74, 0.1), _MULTI_PRIZE: (0.79, 0.1)},
    ("conv6", "cifar10"): {_DENSE: (0.7591, 1.0), _EDGE_POPUP: (0.77, 0.1), _MULTI_PRIZE: (0.82, 0.1)},
    ("conv8", "cifar10"): {_DENSE: (0.7224, 1.0), _EDGE_POPUP: (0.70, 0.1), _MULTI_PRIZE: (0.85, 0.1)},
}
"""What else was published of the networks that `sweeps.figures.drawing.paper_reference` knows, of width 1."""


def references(network: str, dataset: str, width: float) -> list[Reference]:
    """The signed supermask of arXiv 2201.13361 first, then its dense network and earlier methods; often none at all.

    Args:
        network: As in `TrainConfig`.
        dataset: Likewise.
        width: Likewise; what was published of one width says nothing of another.
    """
    if (network, dataset, width) in _RESNETS:
        signed, dense = _RESNETS[network, dataset, width]
        return [Reference(_SIGNED, *signed), Reference(_DENSE, dense, 1.0)]
    signed = paper_reference(network, dataset)
    if signed is None or width != 1:
        return []
    others = _OTHERS[network, dataset]
    return [
        Reference(_SIGNED, signed.accuracy, signed.remaining),
        *(Reference(label, *point) for label, point in others.items()),
    ]
